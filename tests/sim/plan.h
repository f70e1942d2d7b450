/* What a seed draws before anything happens: the faults and habits that it turns on, the client's
 * options, the world's measures.
 *
 * Each trait draws from a stream of its own, so that turning one off leaves the others as they
 * were: that is what shrinking a failing seed needs.
 */
#ifndef MTWS_SIM_PLAN_H_INCLUDED
#define MTWS_SIM_PLAN_H_INCLUDED

/* name, text, how many seeds in a hundred have it, F a fault that heals, H a habit, E a fault that
 * comes again and again, at times of its own */
#define TRAITS(X)                                                         \
    X(DELAY, "delayed bytes", 25, 'F')                                    \
    X(SHORT_READ, "short reads", 25, 'F')                                 \
    X(SHORT_WRITE, "short writes", 25, 'F')                               \
    X(AGAIN_READ, "reads that say AGAIN", 12, 'F')                        \
    X(AGAIN_WRITE, "writes that say AGAIN", 20, 'F')                      \
    X(TINY_PIPE, "a pipe of few bytes", 15, 'H')                          \
    X(REFUSE, "refused connects", 15, 'F')                                \
    X(HANG, "connects that hang", 10, 'F')                                \
    X(CONNECT_ERROR, "transport errors on opening", 8, 'F')               \
    X(IO_RESULT, "transport errors while open", 6, 'E')                   \
    X(CUT, "cuts at a byte", 30, 'E')                                     \
    X(RESET, "resets", 20, 'E')                                           \
    X(END, "ends without a Close", 15, 'E')                               \
    X(DEAD_OUT, "half-open: client to server dead", 15, 'E')              \
    X(DEAD_IN, "half-open: server to client dead", 15, 'E')               \
    X(LINK_DOWN, "link down", 10, 'E')                                    \
    X(SLOW_SERVER, "slow server", 12, 'F')                                \
    X(SLOW_FOREVER, "slow server that does not heal", 4, 'H')             \
    X(SILENT, "server falls silent", 8, 'E')                              \
    X(LATE_PONG, "late answers to the latest Ping", 15, 'H')              \
    X(LOST_PONG, "lost Pongs", 10, 'F')                                   \
    X(WRONG_PONG, "wrong, stale and unasked Pongs", 15, 'E')              \
    X(HOSTILE, "protocol violations", 15, 'E')                            \
    X(GARBAGE, "random bytes from the server", 5, 'E')                    \
    X(FLOOD, "floods of Pings and empty fragments", 10, 'E')              \
    X(SERVER_PING, "Pings from the server", 20, 'E')                      \
    X(STATUS, "upgrades refused", 12, 'F')                                \
    X(BAD_UPGRADE, "bad answers to the upgrade", 10, 'F')                 \
    X(SLOW_UPGRADE, "answers byte by byte", 6, 'F')                       \
    X(NO_UPGRADE, "upgrades not answered", 6, 'F')                        \
    X(ODD_UPGRADE, "unusual but right answers to the upgrade", 25, 'H')   \
    X(SERVER_CLOSE, "closes by the server", 25, 'E')                      \
    X(NO_CLOSE, "Closes not answered", 10, 'F')                           \
    X(POISON, "a message that the server refuses", 8, 'F')                \
    X(POISON_FOREVER, "a message that the server always refuses", 4, 'H') \
    X(WALL_JUMP, "wall clock jumps", 15, 'E')                             \
    X(SLEEP, "sleeps of hours", 6, 'E')                                   \
    X(NO_POLL, "a program that stops polling", 12, 'E')                   \
    X(LATE_POLL, "a program that polls late", 10, 'F')                    \
    X(TICK, "a program that polls at a fixed rate", 12, 'H')              \
    X(SPURIOUS_POLL, "polls without cause", 15, 'E')                      \
    X(HELD_BYTES, "a transport that holds bytes inside", 10, 'H')         \
    X(NATIVE, "the client's own TCP", 30, 'H')                            \
    X(BLOCK, "a program that waits in mtws_poll", 25, 'H')                \
    X(EINTR, "calls that a signal interrupts", 12, 'F')                   \
    X(SYS_ERRORS, "system calls that fail", 10, 'F')                      \
    X(NETLINK, "the system tells of network changes", 10, 'E')            \
    X(MANUAL, "mtws_set_network", 12, 'E')                                \
    X(WAKE, "mtws_wake", 12, 'E')                                         \
    X(HANDLERS, "mtws_dispatch", 15, 'H')                                 \
    X(JSON_BEAT, "heartbeats in JSON", 15, 'H')                           \
    X(SERVER_BEAT, "the server's heartbeats in JSON", 20, 'E')            \
    X(ONE_POLL, "one mtws_poll per wait", 15, 'H')                        \
    X(ENTROPY, "no entropy", 6, 'F')                                      \
    X(PUSH, "messages from the server", 55, 'E')                          \
    X(REPLY, "replies from the server", 30, 'H')                          \
    X(ANSWER, "the program answers messages", 20, 'H')                    \
    X(ONCE, "MTWS_ONCE", 25, 'H')                                         \
    X(NO_QUEUE, "MTWS_NO_QUEUE", 25, 'H')                                 \
    X(FIRST, "MTWS_FIRST", 25, 'H')                                       \
    X(LOGIN, "a login on every connection", 12, 'H')                      \
    X(PARTS, "messages in parts", 20, 'H')                                \
    X(BURST, "bursts of messages", 40, 'H')                               \
    X(BIG, "large messages", 35, 'H')                                     \
    X(TINY, "tiny messages", 15, 'H')                                     \
    X(NAMELESS, "messages too short to carry a name", 6, 'H')             \
    X(PERSISTENT, "refused messages are tried again", 60, 'H')            \
    X(BAD_CALLS, "calls with bad arguments", 15, 'H')                     \
    X(CLEAR, "mtws_clear_queue", 12, 'E')                                 \
    X(PAUSE, "mtws_set_paused", 15, 'E')                                  \
    X(DISCONNECT, "mtws_disconnect and mtws_connect", 15, 'E')            \
    X(RETRY, "mtws_retry_now", 15, 'E')                                   \
    X(NEW_URL, "mtws_set_url and mtws_set_header", 12, 'E')               \
    X(DESTROY, "mtws_destroy at any time", 8, 'H')                        \
    X(STREAM, "stream_messages", 20, 'H')                                 \
    X(HOLD, "hold_queue", 12, 'H')                                        \
    X(TTL, "queue_ttl_ms", 15, 'H')                                       \
    X(DROP_OLDEST, "drop_oldest", 15, 'H')                                \
    X(AT_MOST_ONCE, "at_most_once", 10, 'H')                              \
    X(BY_PROGRAM, "confirm by the program", 12, 'H')                      \
    X(BY_NOBODY, "confirm by nobody", 8, 'H')                             \
    X(TINY_FRAMES, "tiny frames", 15, 'H')                                \
    X(WHOLE_FRAMES, "whole messages in one frame", 12, 'H')               \
    X(FEW_ATTEMPTS, "few attempts", 12, 'H')                              \
    X(NO_ATTEMPTS, "no reconnecting", 5, 'H')                             \
    X(NO_HEARTBEAT, "no heartbeats", 10, 'H')                             \
    X(NO_CONFIRM_PING, "no Pings but heartbeats", 8, 'H')                 \
    X(LARGE, "large limits", 8, 'H')                                      \
    X(DEBUG_LOG, "log level DEBUG", 25, 'H')                              \
    X(ECHO_SECRETS, "a server that repeats secrets", 20, 'H')             \
    X(NAMES_SILENT, "name servers that do not answer", 10, 'F')           \
    X(NAMES_FAIL, "name servers that can't say", 10, 'F')                 \
    X(NAMES_SLOW, "name servers that are slow", 15, 'F')                  \
    X(HOSTS, "names from the hosts file", 20, 'H')

enum {
#define X(name, text, percent, kind) T_##name,
    TRAITS(X)
#undef X
        TRAITS_COUNT
};

typedef struct trait_row {
    const char *name, *text;
    unsigned percent;
    char kind;
} trait_row;

static const trait_row traits[] = {
#define X(name, text, percent, kind) {#name, text, percent, kind},
    TRAITS(X)
#undef X
};

enum { MASK_WORDS = (TRAITS_COUNT + 63) / 64 };

/* The traits that a run may have: all, or what shrinking has left of them. */
typedef struct trait_mask {
    uint64_t word[MASK_WORDS];
} trait_mask;

static bool mask_has(const trait_mask *mask, int trait)
{
    return (mask->word[trait / 64] >> (trait % 64) & 1) != 0;
}

static void mask_set(trait_mask *mask, int trait, bool on)
{
    uint64_t bit = (uint64_t)1 << (trait % 64);
    mask->word[trait / 64] = on ? mask->word[trait / 64] | bit : mask->word[trait / 64] & ~bit;
}

typedef struct plan {
    uint64_t seed;
    trait_mask on;
    uint8_t strength[TRAITS_COUNT]; /* how often a fault strikes where it could, in percent */
    uint64_t pace_us[TRAITS_COUNT]; /* of those that come again and again */
    mtws_options options;
    uint64_t start_us;   /* what the clock shows at first */
    uint64_t heal_us;    /* from then on: no fault of kind F or E */
    uint64_t quiet_us;   /* from then on the program only wants all to be delivered */
    uint64_t action_us;  /* between two actions of the program, about */
    uint64_t latency_us; /* of the healthy network, one way */
    uint64_t think_us;   /* of the server, before it answers an upgrade or a Ping late */
    uint64_t tick_us;    /* of a program that polls at a fixed rate */
    uint64_t trip_us;    /* of the healthy network, there and back, the program's ways included */
    size_t pipe_size;    /* bytes between the client and the server's program */
    size_t message_max;  /* what the program sends */
    size_t push_max;     /* what the server sends */
    uint64_t slow_ns;    /* a slow server: per byte */
    uint64_t poison;     /* the id that the server refuses */
    uint16_t poison_code;
    unsigned odd_offset; /* of the memory block from a multiple of 16 */
    int ending;          /* ENDING_... */
} plan;

enum { ENDING_DESTROY, ENDING_DISCONNECT, ENDING_DRAIN, ENDINGS };

static bool plan_has(const plan *p, int trait)
{
    return mask_has(&p->on, trait);
}

/* One seed in sixteen has no faults, one in sixteen has most of them. */
static void plan_draw_traits(plan *p, rng *r, const trait_mask *allowed, uint64_t duration_us)
{
    unsigned mood = (unsigned)rng_below(r, 16);
    for (int i = 0; i < TRAITS_COUNT; i++) {
        rng own = {rng_mix(p->seed ^ 0x7261697473u) + (uint64_t)i * 0x632be59bd9b4e019u};
        unsigned percent = traits[i].percent;
        if (mood == 0 && traits[i].kind != 'H' && i != T_PUSH) {
            percent = 0;
        } else if (mood == 1) {
            percent = percent * 2 > 60 ? 60 : percent * 2;
        } else if (mood < 6) {
            percent /= 2;
        }
        bool on = rng_chance(&own, percent);
        static const uint8_t strengths[] = {1, 3, 10, 30, 60, 95};
        p->strength[i] = RNG_PICK(&own, strengths);
        p->pace_us[i] = rng_scale(&own, duration_us / 60 + 1000, duration_us);
        mask_set(&p->on, i, on && mask_has(allowed, i));
    }
    p->pace_us[T_SLEEP] = rng_scale(r, duration_us / 4 + 1000, duration_us);
    /* Each of these pairs would contradict itself. */
    if (plan_has(p, T_BY_PROGRAM)) {
        mask_set(&p->on, T_BY_NOBODY, false);
    }
    if (plan_has(p, T_TINY_FRAMES)) {
        mask_set(&p->on, T_WHOLE_FRAMES, false);
    }
    if (plan_has(p, T_FEW_ATTEMPTS)) {
        mask_set(&p->on, T_NO_ATTEMPTS, false);
    }
    /* A message is known to be refused by Pongs alone. */
    if (plan_has(p, T_BY_PROGRAM) || plan_has(p, T_BY_NOBODY) || plan_has(p, T_NO_CONFIRM_PING)
        || plan_has(p, T_SLOW_FOREVER)) {
        mask_set(&p->on, T_POISON_FOREVER, false);
    }
    /* A signal or mtws_wake ends a wait in mtws_poll in time. */
    if (plan_has(p, T_BLOCK)) {
        mask_set(&p->on, T_TICK, false);
        mask_set(&p->on, T_LATE_POLL, false);
        mask_set(&p->on, T_HELD_BYTES, false);
    }
    /* The kernel gives all that it has, and has no results of its own. */
    if (plan_has(p, T_NATIVE)) {
        mask_set(&p->on, T_SHORT_READ, false);
        mask_set(&p->on, T_HELD_BYTES, false);
        mask_set(&p->on, T_IO_RESULT, false);
        mask_set(&p->on, T_CONNECT_ERROR, false);
    }
    /* With neither kind of Ping nobody ever asks. */
    if (plan_has(p, T_NO_CONFIRM_PING)) {
        mask_set(&p->on, T_NO_HEARTBEAT, false);
        mask_set(&p->on, T_JSON_BEAT, false);
    }
    if (!plan_has(p, T_JSON_BEAT)) {
        mask_set(&p->on, T_SERVER_BEAT, false);
    }
}

static void plan_draw_world(plan *p, rng *r)
{
    static const uint64_t starts[] = {0, 1, 1000000, 86400000000u, (uint64_t)1 << 50};
    static const size_t pipes[] = {4096, 16384, 65536, 262144};
    p->start_us = RNG_PICK(r, starts);
    p->latency_us = rng_scale(r, 10, 20000);
    p->think_us = rng_chance(r, 50) ? 0 : rng_scale(r, 100, 20000);
    static const uint64_t ticks[] = {50000, 100000, 250000, 500000, 900000, 2500000};
    p->tick_us = RNG_PICK(r, ticks);
    p->pipe_size = RNG_PICK(r, pipes);
    if (plan_has(p, T_TINY_PIPE)) {
        /* Where each poll sends a Ping, there must be room for more. */
        p->pipe_size = (size_t)rng_scale(r, plan_has(p, T_TICK) ? 64 : 16, 1024);
    }
    p->slow_ns = rng_scale(r, 10000, 5000000);
    p->poison = rng_scale(r, 1, 64);
    static const uint16_t codes[] = {1003, 1007, 1008, 1009, 1011};
    p->poison_code = RNG_PICK(r, codes);
    p->odd_offset = rng_chance(r, 50) ? 0 : (unsigned)rng_below(r, 16);
    p->ending = (int)rng_below(r, ENDINGS);
}

static int32_t plan_ms(uint64_t us)
{
    return (int32_t)(us / 1000 + 1);
}

/* An option, 0 being the default, is raised where the healthy network could not meet it. */
static int32_t plan_at_least(int32_t *option_ms, int32_t normal_ms, int32_t least_ms)
{
    int32_t now_ms = *option_ms == 0 ? normal_ms : *option_ms;
    if (now_ms >= least_ms) {
        return now_ms;
    }
    *option_ms = least_ms;
    return least_ms;
}

static void plan_draw_times(plan *p, rng *r)
{
    static const int32_t initial[] = {0, 1, 50, 250, 400, 1000, 5000};
    static const int32_t most[] = {0, 1, 250, 1000, 5000, 30000};
    static const double factors[] = {0, 1, 1.5, 2, 10, 1000};
    static const int32_t stable[] = {0, 1, 200, 1000, 30000};
    static const int32_t intervals[] = {0, 50, 100, 1000, 5000, 30000, 120000};
    static const int32_t timeouts[] = {0, 20, 100, 500, 2000, 5000};
    static const int32_t connects[] = {0, 100, 500, 2000, 5000, 60000};
    static const int32_t closes[] = {0, 50, 500, 2000};
    static const int32_t confirms[] = {0, 1, 5, 20, 100, 1000};
    static const int32_t ttls[] = {1, 50, 500, 2000, 20000};
    mtws_options *o = &p->options;
    o->initial_reconnect_delay_ms = RNG_PICK(r, initial);
    o->max_reconnect_delay_ms = RNG_PICK(r, most);
    o->reconnect_backoff_factor = RNG_PICK(r, factors);
    o->stable_ms = RNG_PICK(r, stable);
    o->heartbeat_interval_ms = RNG_PICK(r, intervals);
    o->heartbeat_timeout_ms = RNG_PICK(r, timeouts);
    o->connect_timeout_ms = RNG_PICK(r, connects);
    o->close_timeout_ms = RNG_PICK(r, closes);
    o->confirm_delay_ms = RNG_PICK(r, confirms);
    o->queue_ttl_ms = RNG_PICK(r, ttls);
    /* The healthy network must be able to do what the options ask for. */
    uint64_t trip_us = 2 * p->latency_us + p->think_us;
    if (plan_has(p, T_TICK)) {
        trip_us += 2 * p->tick_us;
    }
    if (plan_has(p, T_LATE_POLL)) {
        trip_us += 60000;
    }
    p->trip_us = trip_us;
    size_t frame = o->max_frame_size == 0 ? 65536 : o->max_frame_size;
    frame = frame < o->max_queue_size ? frame : o->max_queue_size;
    frame = frame < 700 ? 700 : frame; /* the upgrade request */
    trip_us *= frame / p->pipe_size + 1;
    int32_t least = plan_ms(3 * trip_us) + 5;
    plan_at_least(&o->heartbeat_timeout_ms, 5000, least);
    plan_at_least(&o->connect_timeout_ms, 20000, 4 * least);
    plan_at_least(&o->close_timeout_ms, 5000, 4 * least);
    if (!plan_has(p, T_TTL)) {
        o->queue_ttl_ms = rng_chance(r, 50) ? 0 : MTWS_OFF;
    }
    if (plan_has(p, T_NO_HEARTBEAT)) {
        o->heartbeat_interval_ms = MTWS_OFF;
    }
    if (plan_has(p, T_NO_CONFIRM_PING)) {
        o->confirm_delay_ms = MTWS_OFF;
    }
    /* A server that stays slow must be able to take one message within the time for a Pong. */
    if (plan_has(p, T_SLOW_FOREVER)) {
        int32_t pong_ms = plan_at_least(&o->heartbeat_timeout_ms, 5000, 100);
        int32_t open_ms = plan_at_least(&o->connect_timeout_ms, 20000, 1000);
        int32_t patience_ms = pong_ms < open_ms ? pong_ms : open_ms;
        uint64_t highest = (uint64_t)patience_ms * 1000000 / 4 / (o->max_queue_size + 600);
        p->slow_ns = p->slow_ns < highest ? p->slow_ns : highest;
    }
}

static void plan_draw_limits(plan *p, rng *r)
{
    static const size_t queues[] = {64, 300, 512, 1000, 1024, 2048, 4096, 8192};
    static const size_t large_queues[] = {16384, 65536, 100000};
    static const size_t messages[] = {16, 64, 125, 126, 300, 1024, 4096};
    static const size_t large_messages[] = {16384, 65536, 70000};
    static const size_t frames[] = {0, 64, 125, 126, 127, 256, 1000, 4096};
    static const size_t tiny_frames[] = {1, 2, 3, 7, 16};
    mtws_options *o = &p->options;
    bool large = plan_has(p, T_LARGE);
    size_t small_queue = RNG_PICK(r, queues), large_queue = RNG_PICK(r, large_queues);
    size_t small_message = RNG_PICK(r, messages), large_message = RNG_PICK(r, large_messages);
    o->max_queue_size = large ? large_queue : small_queue;
    o->max_message_size = large ? large_message : small_message;
    o->max_frame_size = RNG_PICK(r, frames);
    size_t tiny = RNG_PICK(r, tiny_frames);
    if (plan_has(p, T_TINY_FRAMES)) {
        o->max_frame_size = tiny;
    } else if (plan_has(p, T_WHOLE_FRAMES)) {
        o->max_frame_size = MTWS_WHOLE_MESSAGES;
    }
    if (plan_has(p, T_JSON_BEAT) && o->max_message_size < 300) {
        o->max_message_size = 300;
    }
    p->message_max = (size_t)rng_scale(r, 4, o->max_queue_size / 8 > 8 ? o->max_queue_size / 8 : 8);
    p->message_max = plan_has(p, T_TINY) ? 8 : p->message_max;
    p->push_max = (size_t)rng_scale(r, 1, o->max_message_size);
}

static void plan_draw_choices(plan *p, rng *r)
{
    mtws_options *o = &p->options;
    int32_t few = (int32_t)rng_between(r, 1, 4);
    bool normal = rng_chance(r, 10);
    o->max_reconnect_attempts = normal ? 0 : MTWS_UNLIMITED;
    if (plan_has(p, T_FEW_ATTEMPTS)) {
        o->max_reconnect_attempts = few;
    } else if (plan_has(p, T_NO_ATTEMPTS)) {
        o->max_reconnect_attempts = MTWS_OFF;
    }
    o->heartbeat = plan_has(p, T_JSON_BEAT) ? MTWS_HEARTBEAT_JSON : MTWS_HEARTBEAT_PING;
    o->network = plan_has(p, T_MANUAL) ? MTWS_NETWORK_MANUAL : MTWS_NETWORK_AUTO;
    o->wakeable = plan_has(p, T_WAKE);
    o->stream_messages = plan_has(p, T_STREAM);
    o->hold_queue = plan_has(p, T_HOLD);
    o->drop_oldest = plan_has(p, T_DROP_OLDEST);
    o->at_most_once = plan_has(p, T_AT_MOST_ONCE);
    o->confirm = plan_has(p, T_BY_PROGRAM)  ? MTWS_CONFIRM_PROGRAM
                 : plan_has(p, T_BY_NOBODY) ? MTWS_CONFIRM_NONE
                                            : MTWS_CONFIRM_PONG;
    static const char *const protocols[] = {NULL, "", "chat", "chat, superchat", "a,b, c"};
    o->subprotocols = RNG_PICK(r, protocols);
    o->logger.level = plan_has(p, T_DEBUG_LOG) ? MTWS_LOG_DEBUG : (mtws_level)rng_below(r, 3);
}

/* Draws everything. The hooks are the caller's to set. */
static void plan_draw(plan *p, uint64_t seed, const trait_mask *allowed, unsigned percent_of_time)
{
    rng r = {rng_mix(seed ^ 0x706c616eu)};
    memset(p, 0, sizeof *p);
    p->seed = seed;
    uint64_t duration_us = rng_scale(&r, 10000, 60000000);
    uint64_t calm_us = rng_scale(&r, 1000, 5000000);
    uint64_t actions = rng_scale(&r, 2, 120);
    duration_us = duration_us * percent_of_time / 100 + 1;
    plan_draw_traits(p, &r, allowed, duration_us);
    plan_draw_world(p, &r);
    plan_draw_limits(p, &r);
    plan_draw_times(p, &r);
    plan_draw_choices(p, &r);
    p->heal_us = p->start_us + duration_us;
    p->quiet_us = p->heal_us + calm_us;
    p->action_us = (duration_us + calm_us) / actions + 1;
}

#endif
