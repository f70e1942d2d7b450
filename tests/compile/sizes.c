/* MTWS_MEMORY_SIZE as the size of a static array, and that it is enough: for many pairs of limits,
 * under the MTWS_..._MAX that matrix.sh builds this file with. A client lives in exactly
 * mtws_memory_required bytes, at any alignment, and not in one byte less.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#ifdef MTWS_BEARSSL
enum { TLS_SIZE = MTWS_TLS_MEMORY_SIZE };
#else
enum { TLS_SIZE = 0 };
#endif

static unsigned char block[MTWS_MEMORY_SIZE(4096, 8192) + TLS_SIZE + 64];

/* Of one that needs no room for anchors. */
static void set_limits(mtws_options *options, size_t max_message_size, size_t max_queue_size) {
    memset(options, 0, sizeof *options);
    options->max_message_size = max_message_size;
    options->max_queue_size = max_queue_size;
    if (TLS_SIZE > 0) options->ca_file = "";
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                       \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static const size_t limits[] = {
    1,       2,       15,      16,      31,       32,       63,       64,     125,     127,
    128,     129,     255,     256,     511,      1000,     1023,     1024,   4095,    4096,
    4097,    10000,   16383,   16384,   65535,    65536,    65537,    100000, 1000003, 1048575,
    1048576, 1048577, 3000000, 8388608, 16777215, 16777216, 16777217,
};
enum { LIMITS_COUNT = sizeof limits / sizeof limits[0] };

static int one_pair(size_t max_message_size, size_t max_queue_size) {
    mtws_options options;
    size_t promised = MTWS_MEMORY_SIZE(max_message_size, max_queue_size) + TLS_SIZE;
    size_t required;

    set_limits(&options, max_message_size, max_queue_size);
    required = mtws_memory_required(&options);
    EXPECT(required > max_message_size + max_queue_size);
    if (required > promised) {
        printf("MTWS_MEMORY_SIZE(%lu, %lu) is %lu, required are %lu\n",
               (unsigned long)max_message_size, (unsigned long)max_queue_size,
               (unsigned long)promised, (unsigned long)required);
        return 1;
    }
    return 0;
}

static int every_alignment(void) {
    mtws_options options;
    mtws_client *ws = NULL;
    size_t required, offset;

    set_limits(&options, 4096, 8192);
    required = mtws_memory_required(&options);
    EXPECT(required > 0 && required + 64 <= sizeof block);
    for (offset = 0; offset < 64; offset++) {
        memset(block, 0xA5, sizeof block);
        EXPECT(mtws_create_in(&ws, &options, block + offset, required - 1) == MTWS_ERR_MEMORY);
        EXPECT(ws == NULL);
        EXPECT(mtws_create_in(&ws, &options, block + offset, required) == MTWS_OK);
        EXPECT(mtws_send_text(ws, "kept") == MTWS_OK);
        EXPECT(mtws_clear_queue(ws) == MTWS_OK);
        mtws_destroy(ws);
        EXPECT(block[offset + required] == 0xA5 && (offset == 0 || block[offset - 1] == 0xA5));
    }
    return 0;
}

int main(void) {
    size_t i, j;

    for (i = 0; i < LIMITS_COUNT; i++)
        for (j = 0; j < LIMITS_COUNT; j++)
            if (one_pair(limits[i], limits[j] < 7 ? 7 : limits[j]) != 0) return 1;
    return every_alignment();
}
