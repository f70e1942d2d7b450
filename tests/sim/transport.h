/* The client's hooks: transport, clocks, random numbers, log; and what the network does to bytes.
 */
#ifndef MTWS_SIM_TRANSPORT_H_INCLUDED
#define MTWS_SIM_TRANSPORT_H_INCLUDED

/* Calls within one mtws_poll: what it does is bounded, whatever the server sends. */
enum { READS_MAX = 200, WRITES_MAX = 1200, OPENS_MAX = 2 };

static conn *hook_conn(void)
{
    conn *c = conn_now();
    REQUIRE(conn_held(c), "transport", "the transport is used, and it is not open");
    return c;
}

/* ---- opening --------------------------------------------------------------------------------- */

static conn *conn_start(void)
{
    const conn *before = conn_now();
    uint32_t carried = before->attempt == sim.attempts ? before->allowed : 0u;
    conn *c = conn_of(++sim.serial);
    memset(c, 0, offsetof(conn, items));
    c->allowed = carried;
    c->serial = sim.serial;
    c->stage = STAGE_CONNECTING;
    c->begun_us = c->moved_us = sim.now_us;
    c->out.limit = c->in.limit = NEVER;
    c->dead_us = c->opened_us = NEVER;
    sim.in_head = sim.in_count = 0;
    sim.push_head = sim.push_count = 0;
    sim.first_waiting = 0;
    sim.counts.connections++;
    c->attempt = sim.attempts;
    bool slow = has(T_DELAY) || has(T_SLOW_SERVER) || has(T_AGAIN_WRITE) || has(T_AGAIN_READ);
    if (!sim.healed && slow) {
        allow(c, MTWS_ERR_HEARTBEAT);
        allow(c, MTWS_ERR_TIMEOUT);
    }
    if (has(T_SLOW_FOREVER)) {
        allow(c, MTWS_ERR_HEARTBEAT);
        allow(c, MTWS_ERR_TIMEOUT);
    }
    return c;
}

/* How the attempt to open TCP goes, and when that is known. */
static void conn_decide(conn *c)
{
    static const int results[] = {MTWS_IO_ERROR,     MTWS_IO_EOF,        MTWS_ERR_CONNECT,
                                  MTWS_ERR_TLS,      MTWS_ERR_TLS_TRUST, MTWS_ERR_TLS_NAME,
                                  MTWS_ERR_TLS_TIME, MTWS_ERR_PROXY,     MTWS_ERR_RESOLVE};
    uint64_t trip_us = 2 * link_latency_us();
    c->open_result = 0;
    if (strikes(T_CONNECT_ERROR)) {
        c->open_result = RNG_PICK(&sim.streams[T_CONNECT_ERROR], results);
        trip_us *= rng_below(&sim.streams[T_CONNECT_ERROR], 2);
    } else if (strikes(T_REFUSE)) {
        c->open_result = MTWS_IO_ERROR;
    } else if (strikes(T_HANG)) {
        allow(c, MTWS_ERR_TIMEOUT);
        return;
    }
    if (c->open_result != 0) {
        bool named = c->open_result != MTWS_IO_ERROR && c->open_result != MTWS_IO_EOF;
        allow(c, named ? (mtws_result)c->open_result : MTWS_ERR_CONNECT);
    }
    if (sim.now_us < sim.down_until_us) {
        allow(c, MTWS_ERR_TIMEOUT);
        trip_us += sim.down_until_us - sim.now_us;
    }
    plan_event(sim.now_us + trip_us, EV_CONNECTED, c->serial, 0);
}

static int hook_open(void *ctx, const char *host, uint16_t port, bool tls)
{
    (void)ctx;
    conn *c = conn_now();
    REQUIRE(++sim.opens <= OPENS_MAX, "work", "%u openings in one poll", sim.opens);
    if (!conn_held(c)) {
        attempt_starts();
        c = conn_start();
        conn_decide(c);
    }
    REQUIRE(c->stage == STAGE_CONNECTING || c->stage == STAGE_REFUSED || c->connect_done,
            "transport", "opened twice");
    REQUIRE(strcmp(host, sim.open_host) == 0 && port == sim.open_port && !tls, "open",
            "open of %s, port %u", host, port);
    int result = c->stage == STAGE_REFUSED ? c->open_result : MTWS_IO_AGAIN;
    if (c->connect_done) {
        c->connect_done = false;
        c->stage = STAGE_UP;
        result = 0;
    }
    sim.progress += result != MTWS_IO_AGAIN;
    trace(TRACE_OPEN, c->serial, (uint64_t)(int64_t)result, 0);
    return result;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool conn_readable(const conn *c)
{
    return sim.now_us >= c->read_blocked_us
           && (c->in.arrived > c->in.taken || c->reset || c->fin_arrived);
}

/* Whether this Ping may be given up for one that is made, and waits to be written. */
static bool conn_ping_is_last(const conn *c, uint32_t index)
{
    uint32_t later = 0;
    bool beat = c->pings_asked[index].beat;
    for (uint32_t i = index + 1; i < c->asked_count; i++) {
        later += c->pings_asked[i].beat == beat;
    }
    return later + 1 == PINGS_MAX && !pings_judge(beat);
}

/* A Pong answers a Ping, and those before it. */
static void conn_pong_read(conn *c, uint64_t ping_end)
{
    uint32_t answered = 0;
    uint64_t before = c->asked_end;
    c->asked_end = most(c->asked_end, ping_end);
    while (answered < c->asked_count && c->pings_asked[answered].end <= c->asked_end) {
        if (c->pings_asked[answered].end == ping_end && !conn_ping_is_last(c, answered)) {
            model_confirmed(c, before, c->pings_asked[answered].covers);
        }
        answered++;
    }
    c->asked_count -= answered;
    c->asked_again = answered > 0 ? 0 : c->asked_again;
    memmove(c->pings_asked, c->pings_asked + answered, c->asked_count * sizeof c->pings_asked[0]);
    c->answered = c->answered || !has(T_JSON_BEAT);
    c->answer_unsure = c->answer_unsure || sim.paused || has(T_JSON_BEAT);
}

/* An answer in JSON answers what its heartbeat asked before. */
static void conn_beat_read(conn *c, uint64_t beat_end)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < c->asked_count; i++) {
        if (!c->pings_asked[i].beat || c->pings_asked[i].end > beat_end) {
            c->pings_asked[left++] = c->pings_asked[i];
        }
    }
    c->asked_count = left;
    c->answered = true;
    c->answer_unsure = c->answer_unsure || sim.paused;
}

/* The client has read so far: what does it know by now? */
static void conn_was_read(conn *c)
{
    while (sim.in_count > 0 && sim.in_items[sim.in_head].end <= c->in.taken) {
        const in_item *item = &sim.in_items[sim.in_head];
        if (item->kind == IN_OPENED) {
            c->opened_read_us = c->opened_read ? c->opened_read_us : sim.now_us;
            c->opened_read = true;
        } else if (item->kind == IN_PONG) {
            conn_pong_read(c, item->value);
        } else if (item->kind == IN_PING) {
            c->ping_read = item->value;
        } else if (item->kind == IN_BEAT) {
            conn_beat_read(c, item->value);
        } else if (item->kind == IN_CLOSE && !c->close_read) {
            c->close_read = true;
            c->close_read_us = sim.now_us;
        }
        sim.in_head = (sim.in_head + 1) % IN_ITEMS_MAX;
        sim.in_count--;
    }
    if (c->bad && c->bad_read_us == 0 && c->bad_end <= c->in.taken) {
        c->bad_read_us = sim.now_us + 1; /* never 0 */
    }
}

static ptrdiff_t conn_read(conn *c, uint8_t *out, size_t capacity)
{
    uint64_t there = c->in.arrived - c->in.taken;
    if (sim.now_us < c->read_blocked_us) {
        return MTWS_IO_AGAIN;
    }
    if (c->reset && (there == 0 || c->reset_lossy)) {
        return c->io_result != 0 ? c->io_result : MTWS_IO_ERROR;
    }
    if (there == 0) {
        return c->fin_arrived ? MTWS_IO_EOF : MTWS_IO_AGAIN;
    }
    if (strikes(T_AGAIN_READ)) {
        c->read_blocked_us = sim.now_us + rng_scale(&sim.streams[T_AGAIN_READ], 10, 20000);
        plan_event(c->read_blocked_us, EV_UNBLOCK, c->serial, 0);
        sim.progress++; /* the wake-up was not the client's fault */
        return MTWS_IO_AGAIN;
    }
    size_t size = (size_t)least(there, capacity);
    if (strikes(T_SHORT_READ)) {
        size = (size_t)rng_scale(&sim.streams[T_SHORT_READ], 1, size);
    }
    size_t place = (size_t)(c->in.taken % IN_SIZE);
    size_t first = size < IN_SIZE - place ? size : IN_SIZE - place;
    memcpy(out, sim.in_bytes + place, first);
    memcpy(out + first, sim.in_bytes, size - first);
    c->in.taken += size;
    c->moved_us = sim.now_us;
    sim.bytes_in += size;
    sim.progress++;
    return (ptrdiff_t)size;
}

static ptrdiff_t hook_read(void *ctx, void *out, size_t capacity)
{
    (void)ctx;
    conn *c = hook_conn();
    REQUIRE(++sim.reads <= READS_MAX, "work", "%u reads in one poll", sim.reads);
    REQUIRE(sim.polling && c->stage == STAGE_UP && capacity > 0, "transport",
            "a read out of place");
    ptrdiff_t got = conn_read(c, (uint8_t *)out, capacity);
    trace(TRACE_READ, capacity, (uint64_t)(int64_t)got,
          got > 0 ? trace_bytes(out, (size_t)got) : 0);
    conn_was_read(c);
    return got;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool conn_writable(const conn *c)
{
    return sim.now_us >= c->write_blocked_us && (c->reset || conn_room(c) > 0);
}

/* After AGAIN the next write begins with the same bytes, and is no shorter. */
static void conn_check_again(conn *c, const void *data, size_t size)
{
    if (!c->again) {
        return;
    }
    c->again = false;
    REQUIRE(size >= c->again_size && memcmp(data, sim.again_bytes, c->again_size) == 0,
            "write after AGAIN", "%zu bytes after AGAIN to %zu, %s", size, c->again_size,
            size < c->again_size ? "fewer" : "others");
}

static ptrdiff_t conn_no_room(conn *c, const void *data, size_t size)
{
    if (has(T_NATIVE)) {
        return MTWS_IO_AGAIN; /* the kernel keeps nothing that it did not take */
    }
    REQUIRE(size <= sizeof sim.again_bytes, "simulator", "a write of %zu bytes", size);
    memcpy(sim.again_bytes, data, size);
    c->again = true;
    c->again_size = size;
    if (c->again_until <= c->out.sent) {
        c->again_us = sim.now_us;
    }
    c->again_until = c->out.sent + size;
    return MTWS_IO_AGAIN;
}

static ptrdiff_t conn_write(conn *c, const uint8_t *data, size_t size)
{
    bool waited = c->stalled || (has(T_JSON_BEAT) && c->tap.in_message);
    c->stalled = true;
    if (c->reset) {
        return c->io_result != 0 ? c->io_result : MTWS_IO_ERROR;
    }
    if (sim.now_us < c->write_blocked_us) {
        return conn_no_room(c, data, size);
    }
    if (strikes(T_AGAIN_WRITE)) {
        c->write_blocked_us = sim.now_us + rng_scale(&sim.streams[T_AGAIN_WRITE], 10, 20000);
        plan_event(c->write_blocked_us, EV_UNBLOCK, c->serial, 0);
        sim.progress++;
        return conn_no_room(c, data, size);
    }
    size_t room = conn_room(c);
    if (room == 0) {
        return conn_no_room(c, data, size);
    }
    size_t taken = size < room ? size : room;
    if (strikes(T_SHORT_WRITE)) {
        taken = (size_t)rng_scale(&sim.streams[T_SHORT_WRITE], 1, taken);
    }
    tap_feed(c, data, taken, c->out.sent);
    lane_send(c, &c->out, EV_ARRIVE_OUT, taken);
    c->stalled = taken < size;
    if (waited) { /* while a question waits to be written, what leaves is a sign of life */
        c->moved_us = sim.now_us;
    }
    sim.bytes_out += taken;
    sim.progress++;
    if (c->fin_arrived && !c->reset_planned) { /* nobody is there to take it */
        c->reset_planned = true;
        link_reset(c, sim.now_us + 2 * sim.plan.latency_us, false);
    }
    return (ptrdiff_t)taken;
}

static ptrdiff_t hook_write(void *ctx, const void *data, size_t size)
{
    (void)ctx;
    conn *c = hook_conn();
    REQUIRE(++sim.writes <= WRITES_MAX, "work", "%u writes in one poll", sim.writes);
    REQUIRE(sim.polling && c->stage == STAGE_UP && size > 0, "transport", "a write out of place");
    conn_check_again(c, data, size);
    ptrdiff_t put = conn_write(c, (const uint8_t *)data, size);
    trace(TRACE_WRITE, size, (uint64_t)(int64_t)put, trace_bytes(data, size));
    return put;
}

/* ---- waiting and closing --------------------------------------------------------------------- */

static void hook_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out)
{
    (void)ctx;
    const conn *c = hook_conn();
    REQUIRE(out->count == 0 && out->timeout_ms == -1, "transport", "wait wants an empty list");
    bool connecting = c->stage != STAGE_UP;
    if (has(T_HELD_BYTES) && want_read && !connecting && conn_readable(c)) {
        out->timeout_ms = 0;
    }
    out->fds[0].fd = HOOK_FD + (int)(c->serial % 100);
    out->fds[0].serial = c->serial;
    out->fds[0].want_read = want_read && !connecting;
    out->fds[0].want_write = want_write || connecting;
    out->count = 1;
}

/* The client closes, or has been told to shut down both ways. */
static void conn_closed(conn *c)
{
    trace(TRACE_CLOSE, c->serial, c->out.sent, c->out.arrived);
    bool unread = c->in.sent > c->in.taken;
    if (unread && rng_chance(&sim.net, 50)) { /* the reset destroys what is under way */
        uint64_t lost = rng_below(&sim.net, c->out.sent - c->out.arrived + 1);
        c->out.limit = least(c->out.limit, c->out.arrived + lost);
    }
    if (c->out.limit != NEVER && c->out.arrived >= c->out.limit) {
        c->server = SERVER_GONE;
    }
    c->stage = STAGE_CLOSED;
    sim.unheard += c->opened_read && c->opened_us == NEVER;
    sim.progress++;
    sim.first_waiting = 0;
}

static void hook_close(void *ctx)
{
    (void)ctx;
    conn_closed(hook_conn());
}

/* ---- the other hooks ------------------------------------------------------------------------- */

static uint64_t hook_now_us(void *ctx)
{
    (void)ctx;
    return sim.now_us;
}

static uint64_t hook_unix_ms(void *ctx)
{
    (void)ctx;
    return (uint64_t)wall_clock_ms();
}

static bool hook_fill(void *ctx, void *out, size_t size)
{
    (void)ctx;
    uint8_t *bytes = (uint8_t *)out;
    if (strikes(T_ENTROPY)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)rng_next(&sim.entropy);
    }
    return true;
}

static void hook_log(void *ctx, mtws_level level, const char *item, const char *text)
{
    (void)ctx;
    mtws_level highest = sim.plan.options.logger.level;
    highest = highest == 0 ? MTWS_LOG_INFO : highest;
    REQUIRE(level >= MTWS_LOG_ERROR && level <= highest, "log", "level %d, asked for %d", level,
            highest);
    trace(TRACE_LOG, level, trace_bytes(text, strlen(text)), 0);
    if (sim.trace_all) {
        printf("                     %s: %s\n", item, text);
    }
    model_secret(text, "a log");
}

/* ---- what the network does ------------------------------------------------------------------- */

/* An attempt to open TCP is decided. */
static void link_connected(conn *c)
{
    if (c->stage != STAGE_CONNECTING) {
        return;
    }
    if (c->open_result != 0) {
        c->stage = STAGE_REFUSED;
    } else {
        c->connect_done = true;
    }
}

static void link_arrived_out(conn *c)
{
    if (lane_arrive(c, &c->out, EV_ARRIVE_OUT)) {
        c->acked_us = sim.now_us;
        sim.progress += conn_held(c); /* which the client looks for */
    }
    server_work(c);
    if (c->out_shut && c->out.taken == c->out.sent) {
        server_gone(c, false);
    }
    if (c->out.arrived == c->out.limit && c->server != SERVER_GONE && c->stage != STAGE_CLOSED) {
        link_break(c, link_break_kind(c));
    }
}

static void link_arrived_in(conn *c)
{
    lane_arrive(c, &c->in, EV_ARRIVE_IN);
    if (c->in.arrived == c->in.limit && !c->in_broken && c->stage != STAGE_CLOSED) {
        c->in_broken = true;
        link_break(c, link_break_kind(c));
    }
}

/* The end of the stream, behind all bytes. */
static void link_fin(conn *c)
{
    lane_arrive(c, &c->in, EV_ARRIVE_IN);
    if (lane_is_dead(&c->in)) {
        c->fin_waits = true;
        return;
    }
    c->fin_arrived = true;
}

static void link_unhole(conn *c)
{
    link_arrived_out(c);
    link_arrived_in(c);
    if (c->fin_waits && !lane_is_dead(&c->in)) {
        c->fin_waits = false;
        c->fin_arrived = true;
    }
}

/* A direction dies, for a while or for ever. */
static void fault_hole(conn *c, int trait)
{
    rng *r = &sim.streams[trait];
    bool forever = rng_chance(r, 50) && heartbeats();
    uint64_t until = forever ? NEVER : sim.now_us + rng_scale(r, 1000, 2 * timeout_us() + 1000000);
    lane *l = trait == T_DEAD_OUT ? &c->out : &c->in;
    allow(c, MTWS_ERR_HEARTBEAT);
    allow(c, MTWS_ERR_TIMEOUT);
    if (forever && c->dead_us == NEVER) {
        c->dead_us = sim.now_us;
    }
    lane_hole(c, l, trait == T_DEAD_OUT ? 0 : 1, until);
}

/* The system tells everybody who watches. */
static void network_changed(void)
{
    for (int i = 0; i < FDS_MAX; i++) {
        sim.fds[i].count += sim.fds[i].kind == FD_NETLINK;
    }
}

static void interfaces_back(void)
{
    if (sim.interfaces_down && (sim.healed || sim.now_us >= sim.interfaces_until_us)) {
        sim.interfaces_down = false;
        network_changed();
    }
}

static void fault_link_down(void)
{
    rng *r = &sim.streams[T_LINK_DOWN];
    uint64_t until = sim.now_us + rng_scale(r, 1000, 60000000);
    if (has(T_NATIVE) && rng_chance(r, 50)) {
        trace(TRACE_INTERFACES, 0, until, 0);
        sim.interfaces_down = true;
        sim.interfaces_until_us = most(sim.interfaces_until_us, until);
        plan_event(sim.interfaces_until_us, EV_ONLINE, 0, 0);
        network_changed();
    }
    sim.down_until_us = most(sim.down_until_us, until);
    for (int i = 0; i < CONNS_MAX; i++) {
        conn *c = &sim.conns[i];
        if (c->serial != 0 && c->stage != STAGE_NONE) {
            allow(c, MTWS_ERR_HEARTBEAT);
            allow(c, MTWS_ERR_TIMEOUT);
            lane_hole(c, &c->out, 0, until);
            lane_hole(c, &c->in, 1, until);
        }
    }
}

/* The connection will end at a byte that is still to come. */
static void fault_cut(conn *c)
{
    rng *r = &sim.streams[T_CUT];
    bool out = rng_chance(r, 50);
    lane *l = out ? &c->out : &c->in;
    uint64_t ahead = l->sent - l->arrived;
    uint64_t at = l->arrived + rng_scale(r, 1, ahead + 300);
    allow(c, MTWS_ERR_HEARTBEAT);
    allow(c, MTWS_ERR_TIMEOUT);
    allow(c, MTWS_ERR_RESET);
    l->limit = least(l->limit, at);
    c->cut = true;
    trace(TRACE_CUT, c->serial, out ? 0 : 1, at);
}

/* The server takes everything, and answers nothing any more. */
static void fault_silence(conn *c)
{
    if (heartbeats()) {
        trace(TRACE_FAULT, T_SILENT, c->serial, 0);
        c->silent = true;
        c->dead_us = least(c->dead_us, sim.now_us);
        allow(c, MTWS_ERR_HEARTBEAT);
        allow(c, MTWS_ERR_TIMEOUT);
    }
}

static void fault_io_result(conn *c)
{
    static const int results[] = {MTWS_ERR_TLS, MTWS_ERR_PROXY, MTWS_ERR_CONNECT};
    c->io_result = RNG_PICK(&sim.streams[T_IO_RESULT], results);
    trace(TRACE_FAULT, T_IO_RESULT, (uint64_t)(int64_t)c->io_result, 0);
    allow(c, (mtws_result)c->io_result);
    allow(c, MTWS_ERR_RESET);
    c->server = SERVER_GONE;
    c->out.limit = c->out.arrived;
    c->dead_us = c->dead_us == NEVER ? sim.now_us : c->dead_us;
    link_reset(c, sim.now_us, true);
}

/* What was delayed comes at once. */
static void link_hurry(conn *c, lane *l, uint32_t kind)
{
    uint64_t at_us = sim.now_us + sim.plan.latency_us;
    for (uint32_t i = 0; i < l->count; i++) {
        chunk *one = &l->chunks[(l->head + i) % CHUNKS_MAX];
        one->at_us = least(one->at_us, at_us);
    }
    l->last_us = least(l->last_us, at_us);
    if (l->count > 0) {
        plan_event(at_us, kind, c->serial, 0);
    }
}

/* Everything works from now on. */
static void link_heal(void)
{
    interfaces_back();
    for (int i = 0; i < CONNS_MAX; i++) {
        conn *c = &sim.conns[i];
        if (c->serial == 0) {
            continue;
        }
        lane *lanes[2] = {&c->out, &c->in};
        for (int k = 0; k < 2; k++) {
            link_hurry(c, lanes[k], k == 0 ? EV_ARRIVE_OUT : EV_ARRIVE_IN);
            if (lanes[k]->hole_until_us != NEVER) { /* a machine that sleeps hears nothing */
                uint64_t until_us = most(sim.now_us, sim.nap_us);
                lanes[k]->hole_until_us = least(lanes[k]->hole_until_us, until_us);
                if (until_us > sim.now_us) {
                    plan_event(until_us, EV_UNHOLE, c->serial, 0);
                }
            }
            if (lanes[k]->arrived < lanes[k]->limit && c->server != SERVER_GONE) {
                lanes[k]->limit = NEVER;
            }
        }
        link_unhole(c);
        if (c->busy && !has(T_SLOW_FOREVER)) {
            c->busy = false;
            server_work(c);
        }
        /* Without heartbeats only the peer's own system can tell that the connection is dead. */
        bool dead = c->dead_us != NEVER || c->silent;
        if (conn_held(c) && !heartbeats() && dead) {
            link_break(c, 0);
        }
    }
}

#endif
