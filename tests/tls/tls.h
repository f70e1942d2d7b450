/* What the TLS tests share: the files that pki.sh made, from the folder that the variable PKI names.
 * Include it after mtws.h and unit.h. */
#ifndef MTWS_TEST_TLS_H_INCLUDED
#define MTWS_TEST_TLS_H_INCLUDED

enum { TLS_FILE_MAX = 1 << 20 };

/* The path of a file of the folder; valid until the fourth call after this one. */
TEST_UNUSED static const char *pki_path(const char *name) {
    static char paths[4][512];
    static unsigned turn;
    const char *folder = getenv("PKI");
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder == NULL ? "build/tls/pki" : folder, name);
    return path;
}

typedef struct file_text {
    char *text; /* ends with NUL */
    size_t size;
} file_text;

/* A whole file; the test ends where it is not there. */
static file_text file_read(const char *path) {
    file_text file = {(char *)malloc(TLS_FILE_MAX), 0};
    FILE *in = fopen(path, "rb");
    if (in == NULL || file.text == NULL) {
        printf("%s: cannot be read; run `make tls`\n0 passed, 1 failed\n", path);
        exit(1);
    }
    file.size = fread(file.text, 1, TLS_FILE_MAX - 1, in);
    file.text[file.size] = 0;
    fclose(in);
    return file;
}

/* The text of a file of the folder. Kept until the program ends: tests may hold on to it. */
TEST_UNUSED static const char *pki_text(const char *name) {
    static struct {
        char name[64];
        file_text file;
    } kept[128];
    static size_t count;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(kept[i].name, name) == 0) return kept[i].file.text;
    }
    if (count == UNIT_COUNT(kept)) abort();
    snprintf(kept[count].name, sizeof kept[count].name, "%s", name);
    kept[count].file = file_read(pki_path(name));
    return kept[count++].file.text;
}

#endif
