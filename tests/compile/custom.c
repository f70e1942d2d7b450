/* The user's own MTWS_ASSERT, MTWS_MALLOC, MTWS_FREE and MTWS_SYS: that they are used, how often,
 * and that memory comes from nowhere else. matrix.sh also builds this file with -DNDEBUG, where the
 * user's assertion must stay.
 */

/* These headers come before mtws.h, so POSIX must be asked for here. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdlib.h>

static unsigned asserted, allocated, freed, system_calls;
static size_t allocated_size;
static int allocation_fails;
static jmp_buf assertion;

static void *custom_malloc(size_t size) {
    allocated++;
    allocated_size = size;
    return allocation_fails ? NULL : malloc(size);
}

static void custom_free(void *p) {
    freed++;
    free(p);
}

#define MTWS_ASSERT(x)                                                                             \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            asserted++;                                                                            \
            longjmp(assertion, 1);                                                                 \
        }                                                                                          \
    } while (0)
#define MTWS_MALLOC(size) custom_malloc(size)
#define MTWS_FREE(p) custom_free(p)
#define MTWS_SYS(name) (system_calls++, name)
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                       \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* A hook that calls back into its client is a programming error. */
static mtws_client *self;
static int which;

static int open_that_calls_back(void *ctx, const char *host, uint16_t port, bool tls) {
    static union {
        mtws_event event;
        mtws_wait wait;
        mtws_options options;
        mtws_stats stats;
    } out;
    (void)ctx, (void)host, (void)port, (void)tls;
    switch (which) {
    case 0: mtws_send_text(self, "from a hook"); break;
    case 1: mtws_poll(self, &out.event, 0); break;
    case 2: mtws_get_wait(self, &out.wait); break;
    case 3: mtws_get_state(self); break;
    case 4: mtws_get_options(self, &out.options); break;
    case 5: mtws_get_stats(self, &out.stats); break;
    case 6: mtws_get_header(self, "Server"); break;
    case 7: mtws_get_subprotocol(self); break;
    case 8: mtws_get_user_data(self); break;
    case 9: mtws_disconnect(self, 0, NULL); break;
    case 10: mtws_set_paused(self, true); break;
    case 11: mtws_destroy(self); break;
    }
    return MTWS_IO_ERROR;
}

static ptrdiff_t no_read(void *ctx, void *out, size_t capacity) {
    (void)ctx, (void)out, (void)capacity;
    return MTWS_IO_EOF;
}

static ptrdiff_t no_write(void *ctx, const void *data, size_t size) {
    (void)ctx, (void)data, (void)size;
    return MTWS_IO_EOF;
}

static void no_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    (void)ctx, (void)want_read, (void)want_write, (void)out;
}

static void no_close(void *ctx) { (void)ctx; }

static int assertion_is_reached(void) {
    static unsigned char memory[MTWS_MEMORY_SIZE(1000, 1000)];
    mtws_options options;
    mtws_event event;

    asserted = 0;
    memset(&options, 0, sizeof options);
    options.transport.open = open_that_calls_back;
    options.transport.read = no_read;
    options.transport.write = no_write;
    options.transport.wait = no_wait;
    options.transport.close = no_close;
    options.network = MTWS_NETWORK_MANUAL; /* what is left behind holds no descriptor */
    options.max_message_size = options.max_queue_size = 1000;
    EXPECT(mtws_create_in(&self, &options, memory, sizeof memory) == MTWS_OK);
    EXPECT(mtws_connect(self, "ws://example.invalid/", NULL) == MTWS_OK);
    if (setjmp(assertion) == 0) {
        while (mtws_poll(self, &event, 0) == 1 && event.state != MTWS_STATE_ERROR) {
        }
    }
    EXPECT(asserted == 1);
    return 0;
}

int main(void) {
    mtws_client *ws = NULL;

    allocation_fails = 1;
    EXPECT(mtws_create(&ws, NULL) == MTWS_ERR_MEMORY && ws == NULL);
    EXPECT(allocated == 1 && freed == 0);
    allocation_fails = 0;
    EXPECT(mtws_create(&ws, NULL) == MTWS_OK);
    EXPECT(allocated == 2 && allocated_size == mtws_memory_required(NULL));
    EXPECT(mtws_connect(ws, "ws://127.0.0.1:1/", NULL) == MTWS_OK);
    {
        mtws_event event;
        while (mtws_poll(ws, &event, 1000) == 1 && event.state != MTWS_STATE_ERROR) {
        }
        EXPECT(event.state == MTWS_STATE_ERROR && event.result == MTWS_ERR_CONNECT);
    }
    EXPECT(system_calls > 0 && allocated == 2);
    mtws_destroy(ws);
    EXPECT(freed == 1);
    for (which = 0; which < 12; which++) EXPECT(assertion_is_reached() == 0);
    return 0;
}
