/* Runs a fuzz target on files, without a fuzzer and with any C compiler:
 *
 *     cc -g -fsanitize=address,undefined -o replay_utf8 utf8.c replay.c
 *     ./replay_utf8 corpus/utf8/a corpus/utf8/b
 *
 * The file that was begun last is named before a target fails. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole file, in a block of just its size; NULL where it can't be read. */
static uint8_t *replay_load(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    uint8_t *data = NULL;
    long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (end >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        *size = (size_t)end;
        data = (uint8_t *)malloc(*size > 0 ? *size : 1);
        if (data != NULL && fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        size_t size = 0;
        uint8_t *data = replay_load(argv[i], &size);
        if (data == NULL) {
            fprintf(stderr, "%s: can't be read\n", argv[i]);
            return 1;
        }
        fprintf(stderr, "%s (%zu bytes)\n", argv[i], size);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("%d inputs\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
