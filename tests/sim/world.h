/* The world of one run: connections, messages, the program's view, and what is counted. */
#ifndef MTWS_SIM_WORLD_H_INCLUDED
#define MTWS_SIM_WORLD_H_INCLUDED

enum {
    CONNS_MAX = 32,       /* remembered, by serial number modulo this */
    CHUNKS_MAX = 32,      /* of bytes under way in one direction */
    OUT_ITEMS_MAX = 2048, /* frames under way to the server's program, for each connection */
    IN_ITEMS_MAX = 2048,  /* things under way to the client, on the present connection */
    IN_SIZE = 1 << 18,    /* bytes under way to the client */
    IN_RESERVE =
        1 << 14, /* of them for control frames, so that a server can always answer a Ping */
    MESSAGES_MAX = 8192,
    REQUEST_SIZE = 8192,
    NAME_SIZE = 4, /* each longer message begins with its id */
    KEYS_MAX = 256,
    PINGS_MAX = 4,
    ASKED_MAX = 2 * PINGS_MAX,
    REPLIES_MAX = 400, /* a server and a client that answer each other must come to an end */
    STEPS_MAX = 400000
};

typedef struct chunk {
    uint64_t at_us, end;
} chunk;

/* One direction of a connection. Offsets count bytes from its beginning. */
typedef struct lane {
    uint64_t sent;    /* given to the network */
    uint64_t arrived; /* on the other machine */
    uint64_t taken;   /* read there */
    uint64_t limit;   /* what lies beyond never arrives */
    chunk chunks[CHUNKS_MAX];
    uint32_t head, count;
    uint64_t last_us;       /* bytes do not overtake each other */
    uint64_t hole_until_us; /* nothing passes before; NEVER: ever */
} lane;

enum { OUT_REQUEST, OUT_MESSAGE, OUT_PING, OUT_PONG, OUT_CLOSE, OUT_BEAT };

/* Something that ends at this offset of what the client wrote. */
typedef struct out_item {
    uint64_t end, id;
    uint32_t kind, size;
    uint8_t data[16];
} out_item;

enum { IN_OPENED, IN_PING, IN_PONG, IN_CLOSE, IN_BEAT };

/* Something that ends at this offset of what the server sent. */
typedef struct in_item {
    uint64_t end, value;
    uint32_t kind;
} in_item;

/* A message from the server that the client is to hand over. */
typedef struct push {
    uint64_t end;
    uint32_t size, number;
    uint8_t kind;
    bool broken; /* it will never be whole */
} push;

/* The parser of what the client writes. */
typedef struct tap {
    bool upgraded, closed;
    size_t request_size;
    uint8_t head[14];
    size_t head_size;
    bool in_payload;
    uint8_t opcode;
    bool final;
    uint8_t key[4];
    uint64_t size, done; /* of the frame */
    uint8_t control[125];
    bool in_message;
    uint8_t kind;
    uint64_t message_size; /* so far */
    uint8_t name[NAME_SIZE];
    uint64_t id;              /* 0: not known yet */
    uint64_t begun, begun_us; /* the message's first byte: offset, time */
    uint64_t begun_progress;
    uint8_t message_key[4]; /* of its first frame */
    uint64_t last_main, last_first;
    uint64_t part;      /* the message in parts that has begun and not ended */
    uint32_t last_ping; /* counter in the last Pong */
    bool beat;          /* the message is a heartbeat in JSON */
    char beat_text[256];
    uint64_t last_beat;   /* timestamp in the client's last one */
    uint64_t last_answer; /* the server's, in the client's last answer */
} tap;

enum { STAGE_NONE, STAGE_CONNECTING, STAGE_REFUSED, STAGE_UP, STAGE_CLOSED };
enum { SERVER_REQUEST, SERVER_ANSWERING, SERVER_OPEN, SERVER_CLOSING, SERVER_GONE };

/* A Ping of the client's that is wholly written. */
typedef struct asked {
    uint64_t end, us;
    uint64_t covers; /* what had left before this offset it asks about for certain */
    bool beat; /* of the heartbeat in JSON, which may be a Ping within a message */
} asked;

typedef struct conn {
    uint32_t serial;
    uint8_t stage;     /* as the client sees it; CLOSED: it closed */
    uint32_t attempt;  /* that it belongs to */
    bool out_shut;     /* the client has ended its side */
    uint64_t acked_us; /* when bytes of the client last arrived */
    int open_result;   /* what a refused opening answers */
    uint64_t begun_us;
    lane out, in;
    bool fin_sent, fin_arrived;
    bool reset, reset_lossy; /* the client hears that the connection is broken */
    uint64_t reset_arrived;  /* what had come before */
    int io_result;           /* what broken reads and writes answer */
    uint64_t read_blocked_us, write_blocked_us;
    bool stopped;      /* mtws_disconnect was called meanwhile */
    bool connect_done; /* TCP is open, and the client is to hear it */
    bool fin_waits, reset_planned, cut, in_broken;
    bool opened_read; /* the client has read all of the answer to the upgrade ... */
    uint64_t opened_read_us; /* ... then; the event may follow later */
    bool close_read;  /* and the server's Close */
    uint64_t close_read_us;
    bool again_before; /* so it was when this poll began */
    bool again;        /* the last write said AGAIN to sim.again_bytes */
    size_t again_size;
    uint64_t again_until; /* bytes before this offset were offered then */
    uint64_t again_us;    /* when first */
    uint32_t allowed;     /* results that may end it, a bit each */
    uint64_t dead_us;     /* since then no answer can come; NEVER: it can */
    uint64_t moved_us;    /* the last byte read or written by the client */

    uint8_t server;
    bool busy;          /* a slow server is at work */
    uint64_t busy_size; /* on so many bytes */
    bool silent;        /* answers nothing any more */
    bool garbage;       /* random bytes came: no telling what the client makes of them */
    bool bad;           /* a violation was sent: nothing behind it counts */
    uint64_t bad_end, bad_read_us; /* its end, as an offset of in, and when the client read that */
    bool close_sent;
    const char *chosen; /* subprotocol; "" for none */
    bool deaf;          /* takes no message any more */
    uint16_t close_code, http_status;
    bool retry_after;
    uint64_t retry_low_ms, retry_high_ms;
    int64_t retry_date_ms; /* the same as a date; 0: none */
    bool pong_waits, lost_pong, lost_beat;
    uint8_t pong[16];
    uint32_t pong_size;
    uint64_t pong_end;
    uint64_t beats;     /* heartbeats in JSON that the server sent: the last timestamp */
    uint64_t ping_read; /* the latest that the client has read */
    uint32_t pings;     /* that the server sent: their counter */
    uint32_t last_ping_size;
    size_t drip_at;
    uint64_t drip_us;
    bool in_fragments; /* between two fragments of a message */
    int plan;          /* of the answer to the upgrade */

    uint64_t opened_us;           /* the event CONNECTED; NEVER: not yet */
    bool released;                /* mtws_release_queue */
    bool answered;                /* the client read a Pong that answers */
    bool answer_unsure;           /* it may not have parsed one */
    asked pings_asked[ASKED_MAX]; /* the oldest that no Pong has answered first */
    uint32_t asked_count;
    uint32_t asked_again; /* Pings beyond the four, since a Pong answered one */
    uint64_t asked_end; /* what Pongs that the client read confirm, as an offset of out */
    uint64_t confirmed_end; /* what they confirm for certain ... */
    uint32_t confirms;  /* ... and how many of them confirmed something new */
    uint64_t sure_end;  /* bytes written when last nothing waited for room */
    bool stalled;       /* the last write was not taken whole */
    uint8_t asked_last[16]; /* payload of the latest Ping */
    tap tap;
    uint32_t items_head, items_count;
    out_item items[OUT_ITEMS_MAX]; /* stays last: it is not cleared */
} conn;

/* FD_DEAD: a stream to an address that nobody is at. */
enum { FD_FREE, FD_STREAM, FD_DEAD, FD_DATAGRAM, FD_FILE, FD_NETLINK, FD_EVENT };
enum { FD_BASE = 50, FDS_MAX = 24, HOOK_FD = 100, ANSWERS_MAX = 2 };

/* What a name server has said, on its way. */
typedef struct name_answer {
    uint64_t at_us; /* 0: none */
    uint32_t size;
    uint8_t data[160];
} name_answer;

typedef struct descriptor {
    uint8_t kind;
    uint32_t serial;       /* of its connection */
    uint32_t opened;       /* how often the number was given out */
    uint32_t known;        /* the serial number that mtws_get_wait gave for it */
    uint32_t known_opened; /* when */
    uint64_t left_poll;    /* the poll in which the client was done with it */
    uint64_t count;        /* of wake-ups, or of network changes that nobody has read, or of a file's
                              bytes that were read */
    bool is_hosts;         /* of a file */
    uint64_t refused_us;   /* when a dead address answers; NEVER: not at all */
    name_answer answers[ANSWERS_MAX];
} descriptor;

enum { CLASS_MAIN, CLASS_FIRST, CLASS_PARTS, CLASSES };
enum { FATE_OPEN, FATE_DELIVERED, FATE_DROPPED };

typedef struct message {
    uint32_t size;
    uint8_t kind, flags, queue; /* CLASS_... */
    uint8_t fate;
    bool written;    /* as DROPPED said */
    bool cleared;    /* mtws_clear_queue was called since */
    bool by_program; /* mtws_confirm covered it after it had left */
    int16_t result;
    uint32_t conn;           /* the connection of the moment when it was taken; 0: none */
    uint32_t left, received; /* times that it was written whole, and came to the server */
    uint32_t left_conn;
    uint64_t left_end; /* offset there */
    uint64_t sent_us;
    uint32_t strikes; /* closes in a row that looked as if it were refused, at most */
    uint64_t passed_by;   /* a later message that was written first ... */
    uint32_t passed_conn; /* ... on this connection */
    uint8_t key[4];
} message;

typedef struct sim_counts {
    uint64_t seeds, failed;
    uint64_t virtual_us;
    uint64_t polls, events[8], states[8];
    uint64_t messages, connections, opened, pushes;
    uint64_t bytes_out, bytes_in;
    uint64_t resent;
    uint64_t results[32];        /* of ERROR events */
    uint64_t drops[32];          /* of DROPPED events, in messages */
    uint64_t hits[TRAITS_COUNT]; /* faults injected */
    uint64_t seeds_with[TRAITS_COUNT];
    uint64_t repeats; /* seeds run twice for the comparison */
} sim_counts;

typedef struct world {
    plan plan;
    rng streams[TRAITS_COUNT];
    rng net, server, program, entropy;
    uint64_t now_us;
    int64_t wall_ms; /* the wall clock less the other one */
    bool healed, quiet;
    uint64_t down_until_us; /* the link */
    uint64_t interfaces_until_us;
    bool interfaces_down; /* and the system knows it */
    bool watched;         /* the client is told of such changes */
    bool said_offline;    /* by mtws_set_network */
    descriptor fds[FDS_MAX];
    bool destroying;
    unsigned zero_polls; /* calls of poll with a timeout of 0, and nothing done between */
    uint64_t zero_progress, zero_us;
    unsigned interrupts; /* in a row */
    bool idle;           /* mtws_poll said so */
    uint32_t attempts;
    uint32_t attempt_allowed; /* results with which the present one may end */
    uint64_t attempt_us;
    bool attempting; /* over the client's own TCP: a name is looked up, or addresses are tried */
    uint64_t online_us; /* when it was seen that waiting is over */
    bool in_vain;       /* a reconnecting attempt did not open */
    bool handled;       /* a handler was called */
    uint32_t serial;    /* of the present connection, or the last; 0: none yet */

    uint32_t in_head, in_count;
    uint32_t push_head, push_count, push_number;
    uint64_t handed_us; /* when the last message was handed over */
    uint64_t handed;    /* messages and parts of them */
    uint64_t part_size; /* of the expected message that was handed over in parts */
    bool part_begun;
    bool garbage; /* random bytes came from some server */
    size_t answer_size;
    uint32_t keys_count;
    uint8_t old_pong[16]; /* of an earlier connection, or one answered before */
    uint32_t old_pong_size;
    unsigned suspects;         /* masking keys that repeat */
    uint64_t first_appearance; /* the highest id of the main queue that a server has seen */
    uint32_t first_waiting;    /* messages with MTWS_FIRST that have not left */
    uint32_t first_conn;       /* on that connection */
    uint64_t first_progress;   /* since then */
    uint64_t last_part;        /* the latest message in parts */
    uint64_t passed;           /* the first message that another was written ahead of */

    /* The program, and what it knows. */
    mtws_client *ws;
    mtws_wait wait;
    bool wanted_read, wanted_write;
    uint64_t wait_us;  /* when it asked */
    uint64_t ready_us; /* when a descriptor became ready; NEVER: none is */
    uint64_t late_us;  /* how late it polls this time */
    mtws_state state;
    bool stop_asked; /* mtws_disconnect was called */
    uint64_t stop_us;
    bool stopped_error;      /* an ERROR came after it */
    mtws_result stop_result; /* of DISCONNECTED */
    bool paused;
    uint64_t unpaused_us; /* since when it is not any more */
    uint64_t asleep_us;   /* does not poll before */
    uint64_t nap_us;      /* until then the machine, which slept, receives nothing */
    uint64_t woken_us;    /* when it polled again after a gap */
    uint64_t polled_us;
    uint64_t action_us;
    uint64_t confirm_us; /* when it hears what the server's program has, or has more to send */
    uint64_t again_us;   /* when it connects again; NEVER: not at all */
    bool at_rest;        /* every event was handed over */
    bool refused;        /* mtws_send said QUEUE_FULL; WRITABLE is to follow */
    size_t refused_size;
    uint32_t refused_queue;
    uint64_t refused_part; /* the message in parts that was under way; 0: none */
    uint64_t part_id;
    uint32_t part_done;
    int ending;          /* 0: not yet; 1: disconnecting; 2: destroyed */
    uint64_t destroy_us; /* at that time, or at that event */
    uint64_t destroy_event, events;
    char url[512], host[64], host_field[80], target[256], authorization[128], secret[32];
    char attempt_host[80], attempt_target[256], attempt_authorization[128], target_secret[32];
    char open_host[64];
    uint16_t port, open_port;
    unsigned url_number;

    uint64_t count;     /* messages; ids begin with 1 */
    uint64_t open_from; /* all before are settled */
    uint64_t unsettled, dropped;
    uint64_t pushes_whole; /* messages handed over */
    uint64_t messages_out, bytes_out, bytes_in, resent;
    int32_t attempt_low, attempt_high; /* since the last stable connection */

    /* What the events said. */
    mtws_event failure; /* of the last ERROR */
    char failure_reason[600];
    bool ever_opened;
    bool connect_asked; /* mtws_connect was called, and no mtws_disconnect since */
    bool retry_asked;
    uint64_t retry_us;              /* announced; NEVER: none is awaited */
    uint32_t round_low, round_high; /* exponents of the delay */
    int32_t unopened;
    uint64_t failures, connects;
    uint64_t unheard;        /* connections that opened and ended before the program heard */
    uint64_t failures_quiet; /* since the program is calm */
    uint64_t open_by_us, settle_by_us;

    /* Work. */
    unsigned reads, writes, opens; /* in this poll */
    uint64_t work_in, work_out;    /* bytes before it */
    bool polling;
    uint64_t progress; /* changes with every byte and event */
    uint64_t idle_progress, idle_polls, idle_since_us;
    uint64_t steps;
    uint64_t trace_count, trace_hash;
    char violation[512];
    char violation_key[128]; /* the same for the same kind of violation */

    /* From here on nothing is cleared between two runs. */
    agenda agenda;
    conn conns[CONNS_MAX];
    uint8_t in_bytes[IN_SIZE];
    in_item in_items[IN_ITEMS_MAX];
    push pushes[IN_ITEMS_MAX];
    char request[REQUEST_SIZE];
    char answer[REQUEST_SIZE + 20000];
    uint8_t again_bytes[1 << 18];
    char keys[KEYS_MAX][25]; /* Sec-WebSocket-Key of earlier attempts */
    message messages[MESSAGES_MAX + 1];
    trace_record trace[TRACE_SIZE];
    bool trace_all;
    jmp_buf escape;
    sim_counts counts;
} world;

static world sim;

/* ---- trace and violations -------------------------------------------------------------------- */

static void trace_print(const trace_record *r)
{
    printf("%14.3f ms  ", ((double)r->at_us - (double)sim.plan.start_us) / 1000.0);
    printf(trace_texts[r->kind], (long long)r->a, (long long)r->b, (long long)r->c);
    putchar('\n');
}

static void trace(uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
    trace_record r = {sim.now_us, a, b, c, kind};
    uint64_t hash = sim.trace_hash;
    hash = (hash ^ r.at_us ^ (uint64_t)kind << 56) * 0x100000001b3u;
    hash = (hash ^ a) * 0x100000001b3u;
    hash = (hash ^ b) * 0x100000001b3u;
    hash = (hash ^ c) * 0x100000001b3u;
    sim.trace_hash = hash ^ hash >> 29;
    sim.trace[sim.trace_count++ % TRACE_SIZE] = r;
    if (sim.trace_all) {
        trace_print(&r);
    }
}

static uint64_t trace_bytes(const void *data, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)data;
    uint64_t hash = size * 0x9e3779b97f4a7c15u;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    for (; size > 0; size--, bytes++) {
        hash = (hash ^ *bytes) * 0x100000001b3u;
    }
    return hash ^ hash >> 31;
}

/* Ends the run. The key names the kind of violation; the text says more. */
SIM_PRINTF(2, 3) static void violate(const char *key, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(sim.violation, sizeof sim.violation, format, list);
    va_end(list);
    snprintf(sim.violation_key, sizeof sim.violation_key, "%s", key);
    longjmp(sim.escape, 1);
}

#define REQUIRE(condition, key, ...)   \
    do {                               \
        if (!(condition)) {            \
            violate(key, __VA_ARGS__); \
        }                              \
    } while (0)

/* Every run ends. */
static void step(void)
{
    REQUIRE(++sim.steps < STEPS_MAX, "endless", "the run does not end");
}

/* ---- small helpers --------------------------------------------------------------------------- */

static uint64_t later(uint64_t at_us, uint64_t by_us)
{
    return by_us > NEVER - at_us ? NEVER : at_us + by_us;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int64_t wall_clock_ms(void)
{
    return 1700000000000 + (int64_t)(sim.now_us / 1000) + sim.wall_ms;
}

static void plan_event(uint64_t at_us, uint32_t kind, uint32_t serial, uint32_t extra)
{
    REQUIRE(agenda_add(&sim.agenda, at_us, kind, serial, extra), "simulator",
            "the agenda of the simulator is full");
}

static bool has(int trait)
{
    return plan_has(&sim.plan, trait);
}

/* Whether a fault strikes here. Counts it. */
static bool strikes(int trait)
{
    if (!has(trait) || sim.healed || !rng_chance(&sim.streams[trait], sim.plan.strength[trait])) {
        return false;
    }
    sim.counts.hits[trait]++;
    return true;
}

static conn *conn_of(uint32_t serial)
{
    return &sim.conns[serial % CONNS_MAX];
}

static conn *conn_now(void)
{
    return conn_of(sim.serial);
}

/* Whether the client has a connection, or is opening one. */
static bool conn_held(const conn *c)
{
    return c->serial == sim.serial && sim.serial != 0 && c->stage != STAGE_NONE
           && c->stage != STAGE_CLOSED;
}

static void allow(conn *c, mtws_result result)
{
    c->allowed |= 1u << (-result);
}

/* The same for the attempt under way. */
static void allow_attempt(mtws_result result)
{
    sim.attempt_allowed |= 1u << (-result);
}

/* Whether it is certain that there is no network, as far as the client can know. */
static bool is_offline(void)
{
    return has(T_MANUAL) ? sim.said_offline : sim.watched && sim.interfaces_down;
}

static bool allowed(const conn *c, mtws_result result)
{
    return (c->allowed >> (-result) & 1) != 0;
}

/* The options as the client resolves them. */
static int32_t or_else(int32_t value, int32_t normal)
{
    return value == 0 ? normal : value;
}

static uint64_t option_us(int32_t value, int32_t normal)
{
    return (uint64_t)or_else(value, normal) * 1000;
}

static bool heartbeats(void)
{
    return sim.plan.options.heartbeat_interval_ms != MTWS_OFF;
}

/* Whether the peer counts as dead where a Ping has no answer. beat: one of the heartbeat in JSON. */
static bool pings_judge(bool beat)
{
    return heartbeats() && (beat || !has(T_JSON_BEAT));
}

static uint64_t interval_us(void)
{
    return option_us(sim.plan.options.heartbeat_interval_ms, 30000);
}

static uint64_t timeout_us(void)
{
    return option_us(sim.plan.options.heartbeat_timeout_ms, 5000);
}

static uint64_t connect_timeout_us(void)
{
    return option_us(sim.plan.options.connect_timeout_ms, 20000);
}

static uint64_t close_timeout_us(void)
{
    return option_us(sim.plan.options.close_timeout_ms, 5000);
}

static size_t max_frame(void)
{
    return sim.plan.options.max_frame_size == 0 ? 65536 : sim.plan.options.max_frame_size;
}

/* How late a poll may be that became due, of this program. */
static uint64_t lateness_us(void)
{
    return (has(T_TICK) ? sim.plan.tick_us : 0) + (has(T_LATE_POLL) ? 30000 : 0) + 2000;
}

/* ---- content --------------------------------------------------------------------------------- */

enum { POOL_SIZE = 1 << 18 };

/* Text is made of groups of four bytes, so that it is valid wherever it begins and ends. */
static uint8_t text_pool[POOL_SIZE];
static uint8_t binary_pool[POOL_SIZE];

static void content_start(void)
{
    static const char *const groups[] = {
        "abcd",          "\xc3\xa9xy",       "\xe2\x82\xacz", "\xf0\x9f\x98\x80",
        "\xed\x9f\xbf-", "\xf4\x8f\xbf\xbf", "{\"a\"",        "\xdf\xbf\xc2\x80"};
    rng r = {7};
    for (size_t i = 0; i < POOL_SIZE; i += 4) {
        uint32_t word = (uint32_t)rng_next(&r);
        memcpy(text_pool + i, groups[rng_below(&r, 8)], 4);
        memcpy(binary_pool + i, &word, 4);
    }
}

static const char content_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void content_name(uint64_t id, uint8_t out[NAME_SIZE])
{
    for (int i = 0; i < NAME_SIZE; i++) {
        out[i] = (uint8_t)content_digits[id >> (6 * i) & 63];
    }
}

/* The id, or 0 where no message begins so. */
static uint64_t content_id(const uint8_t name[NAME_SIZE])
{
    uint64_t id = 0;
    for (int i = 0; i < NAME_SIZE; i++) {
        const char *digit = strchr(content_digits, name[i]);
        if (name[i] == 0 || digit == NULL) {
            return 0;
        }
        id |= (uint64_t)(digit - content_digits) << (6 * i);
    }
    return id;
}

/* Where in the pool a message's bytes come from. */
static const uint8_t *content_pool(uint64_t id, uint8_t kind)
{
    uint64_t from = rng_mix(id ^ sim.plan.seed) % (POOL_SIZE / 8) * 4;
    return (kind == MTWS_BINARY ? binary_pool : text_pool) + from;
}

/* `count` bytes, from byte `from` on, of a message of `size` bytes, which are at most half of the
 * pool. */
static void content_fill(uint8_t *out, uint64_t id, uint8_t kind, uint64_t size, uint64_t from,
                         uint64_t count)
{
    uint8_t name[NAME_SIZE];
    if (count == 0) {
        return;
    }
    if (size < NAME_SIZE) {
        memset(out, 'n', (size_t)count);
        return;
    }
    memcpy(out, content_pool(id, kind) + from, (size_t)count);
    content_name(id, name);
    for (uint64_t i = from; i < NAME_SIZE && i < from + count; i++) {
        out[i - from] = name[i];
    }
    for (uint64_t i = size - size % 4; kind == MTWS_TEXT && i < from + count; i++) {
        if (i >= from && i >= NAME_SIZE) {
            out[i - from] = 'x';
        }
    }
}

static bool content_same(const uint8_t *data, uint64_t id, uint8_t kind, uint64_t size,
                         uint64_t from, uint64_t count)
{
    uint8_t expected[256];
    while (count > 0) {
        uint64_t part = count < sizeof expected ? count : sizeof expected;
        content_fill(expected, id, kind, size, from, part);
        if (memcmp(data, expected, (size_t)part) != 0) {
            return false;
        }
        data += part;
        from += part;
        count -= part;
    }
    return true;
}

/* ---- the network ----------------------------------------------------------------------------- */

/* How many bytes the client can write now. */
static size_t conn_room(const conn *c)
{
    uint64_t used = c->out.sent - c->out.taken;
    size_t size = sim.plan.pipe_size;
    if (c->items_count > OUT_ITEMS_MAX / 2) {
        return 0;
    }
    return used >= size ? 0 : (size_t)(size - used);
}

/* One way, now. */
static uint64_t link_latency_us(void)
{
    uint64_t us = sim.plan.latency_us;
    if (strikes(T_DELAY)) {
        us += rng_scale(&sim.streams[T_DELAY], 100, 2 * timeout_us() + 1000000);
    }
    return us;
}

static bool lane_is_dead(const lane *l)
{
    return sim.now_us < l->hole_until_us;
}

/* `size` bytes set out. kind: what their arrival is called on the agenda. */
static void lane_send(conn *c, lane *l, uint32_t kind, size_t size)
{
    uint64_t at_us = most(l->last_us, sim.now_us + link_latency_us());
    l->sent += size;
    l->last_us = at_us;
    if (l->count > 0) {
        chunk *last = &l->chunks[(l->head + l->count - 1) % CHUNKS_MAX];
        if (last->at_us == at_us || l->count == CHUNKS_MAX) {
            last->end = l->sent;
            last->at_us = l->count == 1 ? last->at_us : at_us;
            return;
        }
    }
    chunk one = {at_us, l->sent};
    l->chunks[(l->head + l->count++) % CHUNKS_MAX] = one;
    if (l->count == 1) {
        plan_event(most(at_us, l->hole_until_us == NEVER ? at_us : l->hole_until_us), kind,
                   c->serial, 0);
    }
}

/* Moves what is due. True: something arrived. */
static bool lane_arrive(conn *c, lane *l, uint32_t kind)
{
    uint64_t before = l->arrived;
    if (lane_is_dead(l)) {
        return false; /* the end of the hole looks again */
    }
    while (l->count > 0 && l->chunks[l->head].at_us <= sim.now_us) {
        l->arrived = most(l->arrived, least(l->chunks[l->head].end, l->limit));
        l->head = (l->head + 1) % CHUNKS_MAX;
        l->count--;
    }
    if (l->count > 0) {
        plan_event(l->chunks[l->head].at_us, kind, c->serial, 0);
    }
    return l->arrived > before;
}

/* Nothing passes before until_us. */
static void lane_hole(conn *c, lane *l, uint32_t direction, uint64_t until_us)
{
    if (l->hole_until_us >= until_us) {
        return;
    }
    l->hole_until_us = until_us;
    trace(TRACE_HOLE, c->serial, direction, until_us);
    if (until_us != NEVER) {
        plan_event(until_us, EV_UNHOLE, c->serial, direction);
    }
}

/* The client hears that the connection is broken: a reset arrives. */
static void link_reset(conn *c, uint64_t at_us, bool lossy)
{
    plan_event(at_us, EV_RESET, c->serial, lossy);
}

#endif
