/* What everything in the simulator stands on: random numbers, the trace, violations, and the list
 * of what happens when. One world is simulated at a time, and all of it lies in `sim`.
 */
#ifndef MTWS_SIM_BASE_H_INCLUDED
#define MTWS_SIM_BASE_H_INCLUDED

#define NEVER UINT64_MAX
#define SIM_PRINTF(text, first) __attribute__((unused, __format__(__printf__, text, first)))

/* ---- random numbers -------------------------------------------------------------------------- */

typedef struct rng {
    uint64_t state;
} rng;

static uint64_t rng_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t rng_next(rng *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return rng_mix(r->state);
}

static uint64_t rng_below(rng *r, uint64_t count)
{
    return count <= 1 ? 0 : rng_next(r) % count;
}

static uint64_t rng_between(rng *r, uint64_t low, uint64_t high)
{
    return high <= low ? low : low + rng_below(r, high - low + 1);
}

static bool rng_chance(rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

/* Each order of magnitude between low and high is as likely as the next. */
static uint64_t rng_scale(rng *r, uint64_t low, uint64_t high)
{
    uint64_t top = low;
    unsigned steps = 0;
    while (top <= high / 2) {
        top *= 2;
        steps++;
    }
    uint64_t from = low << rng_below(r, steps + 1u);
    uint64_t to = from > high / 2 ? high : from * 2;
    return rng_between(r, from, to);
}

#define RNG_PICK(r, list) ((list)[rng_below((r), sizeof(list) / sizeof((list)[0]))])

/* ---- the trace ------------------------------------------------------------------------------- */

/* Each kind has a text with three numbers. The records are hashed, so that two runs can be compared
 * to the byte; the last of them are printed where a run fails. */
#define TRACE_KINDS(X)                                                                         \
    X(POLL, "poll -> %lld, event %lld, state %lld")                                            \
    X(EVENT_STATE, "  state %lld -> %lld, result %lld")                                        \
    X(EVENT_STATE_MORE, "    close %lld, status %lld, retry in %lld ms")                       \
    X(EVENT_MESSAGE, "  message: kind %lld, %lld bytes, first/last %lld")                      \
    X(EVENT_DELIVERED, "  delivered %lld..%lld %.0lld")                                        \
    X(EVENT_DROPPED, "  dropped %lld..%lld, result and written %lld")                          \
    X(EVENT_WRITABLE, "  writable %.0lld%.0lld%.0lld")                                         \
    X(WAIT, "wait: %lld ms, read %lld, write %lld")                                            \
    X(POLL_WAIT, "poll of %lld descriptors, %lld ms -> %lld")                                  \
    X(OPEN, "transport open: connection %lld -> %lld %.0lld")                                  \
    X(READ, "transport read of %lld -> %lld (hash %llx)")                                      \
    X(WRITE, "transport write of %lld -> %lld (hash %llx)")                                    \
    X(CLOSE, "transport close: connection %lld, written %lld, arrived %lld")                   \
    X(TAP_REQUEST, "  request on connection %lld %.0lld%.0lld")                                \
    X(TAP_MESSAGE, "  written whole: message %lld on connection %lld, ends at %lld")           \
    X(TAP_CONTROL, "  written: control frame %lld, %lld bytes, ends at %lld")                  \
    X(SERVER_TAKES, "server: takes message %lld on connection %lld %.0lld")                    \
    X(SERVER_PING, "server: takes a Ping on connection %lld, answers %lld %.0lld")             \
    X(SERVER_BEAT, "server: takes heartbeat %lld on connection %lld, answers %lld")            \
    X(INTERFACES, "fault: the interfaces are down %lld until %lld us %.0lld")                  \
    X(SERVER_CLOSE, "server: closes connection %lld with %lld, answer %lld")                   \
    X(SERVER_HEARS, "server: Close %lld on connection %lld %.0lld")                            \
    X(SERVER_ANSWER, "server: answers the upgrade on connection %lld, plan %lld, status %lld") \
    X(SERVER_PUSH, "server: sends message %lld of %lld bytes, kind %lld")                      \
    X(SERVER_HOSTILE, "server: hostile act %lld on connection %lld, at %lld")                  \
    X(SERVER_GONE, "server: connection %lld ends, how %lld %.0lld")                            \
    X(HOLE, "fault: connection %lld direction %lld dead until %lld us")                        \
    X(CUT, "fault: connection %lld direction %lld cut at %lld")                                \
    X(BREAK, "fault: connection %lld breaks, kind %lld, lossy %lld")                           \
    X(FAULT, "fault: trait %lld, argument %lld %.0lld")                                        \
    X(HEAL, "all faults heal %.0lld%.0lld%.0lld")                                              \
    X(QUIET, "the program calms down: %lld messages, %lld not settled %.0lld")                 \
    X(SEND, "send: id %lld, %lld bytes, kind and flags %llx")                                  \
    X(SEND_RESULT, "  sent: result %lld, class %lld %.0lld")                                   \
    X(PART, "send part: id %lld, %lld bytes, first/last %lld")                                 \
    X(CALL, "call %lld -> %lld (%lld)")                                                        \
    X(CONFIRM, "confirm up to %lld -> %lld %.0lld")                                            \
    X(LOG, "log: level %lld (hash %llx) %.0lld")                                               \
    X(ASLEEP, "the program stops polling until %lld us %.0lld%.0lld")                          \
    X(QUESTION, "name server: asked for type %lld on descriptor %lld, how %lld")               \
    X(END, "end: %lld messages, %lld connections, how %lld")

enum {
#define X(name, text) TRACE_##name,
    TRACE_KINDS(X)
#undef X
        TRACE_KINDS_COUNT
};

static const char *const trace_texts[] = {
#define X(name, text) text,
    TRACE_KINDS(X)
#undef X
};

/* What the program calls, for TRACE_CALL. */
enum {
    CALL_CONNECT,
    CALL_DISCONNECT,
    CALL_RETRY,
    CALL_SET_URL,
    CALL_SET_HEADER,
    CALL_PAUSE,
    CALL_CLEAR,
    CALL_RELEASE,
    CALL_DESTROY,
    CALL_BAD,
    CALL_NETWORK,
    CALL_WAKE
};

typedef struct trace_record {
    uint64_t at_us;
    uint64_t a, b, c;
    uint32_t kind;
} trace_record;

enum { TRACE_SIZE = 1024 };

/* ---- what happens when ----------------------------------------------------------------------- */

enum {
    EV_ARRIVE_OUT, /* bytes of the client reach the server's machine */
    EV_ARRIVE_IN,  /* bytes of the server reach the client's */
    EV_CONNECTED,  /* an attempt to open TCP is decided */
    EV_FIN,        /* the server's end of stream arrives */
    EV_RESET,      /* a reset arrives at the client */
    EV_UNHOLE,     /* a direction works again */
    EV_UNBLOCK,    /* a refusal to read or write without cause ends */
    EV_SERVE,      /* a slow server has dealt with something */
    EV_ANSWER,     /* the server answers the upgrade */
    EV_DRIP,       /* the next byte of a slow answer */
    EV_PONG,       /* a server that answers late answers the latest Ping */
    EV_ONLINE,     /* the interfaces are back */
    EV_HANG_UP,    /* the server ends TCP after the closing handshake */
    EV_NAP,        /* the machine sleeps */
    EV_SOCKET,     /* something comes for a socket that is no connection */
    EV_TRAIT,      /* a fault, or something else that comes again and again */
    EV_HEAL,
    EV_QUIET
};

typedef struct happening {
    uint64_t at_us;
    uint32_t order; /* of those at one time, the one that was planned first */
    uint32_t kind;
    uint32_t serial; /* of a connection, or a trait */
    uint32_t extra;
} happening;

enum { HAPPENINGS_MAX = 8192 };

typedef struct agenda {
    happening heap[HAPPENINGS_MAX];
    int count;
    uint32_t order;
} agenda;

static bool agenda_before(const happening *a, const happening *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

/* False where it is full, which only a bug of the simulator can bring about. */
static bool agenda_add(agenda *list, uint64_t at_us, uint32_t kind, uint32_t serial, uint32_t extra)
{
    if (list->count == HAPPENINGS_MAX) {
        return false;
    }
    happening it = {at_us, list->order++, kind, serial, extra};
    int place = list->count++;
    while (place > 0 && agenda_before(&it, &list->heap[(place - 1) / 2])) {
        list->heap[place] = list->heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    list->heap[place] = it;
    return true;
}

static happening agenda_take(agenda *list)
{
    happening first = list->heap[0];
    happening last = list->heap[--list->count];
    int place = 0;
    for (;;) {
        int child = 2 * place + 1;
        if (child >= list->count) {
            break;
        }
        if (child + 1 < list->count && agenda_before(&list->heap[child + 1], &list->heap[child])) {
            child++;
        }
        if (!agenda_before(&list->heap[child], &last)) {
            break;
        }
        list->heap[place] = list->heap[child];
        place = child;
    }
    list->heap[place] = last;
    return first;
}

#endif
