/* One run: the program's main loop, what happens meanwhile, and the calm at the end.
 */
#ifndef MTWS_SIM_DRIVE_H_INCLUDED
#define MTWS_SIM_DRIVE_H_INCLUDED

/* ---- the calm at the end --------------------------------------------------------------------- */

/* How long a dead connection may go unnoticed. */
static uint64_t notice_us(void)
{
    uint64_t us = close_timeout_us() + 250000;
    return us + (heartbeats() ? interval_us() + 8 * timeout_us() : 0);
}

static bool conn_is_well(const conn *c)
{
    bool answers = !c->lost_pong || !pings_judge(false); /* it will be asked again */
    return conn_held(c) && c->dead_us == NEVER && c->server == SERVER_OPEN && !c->close_sent
           && !c->bad && !c->silent && answers && !c->lost_beat && !c->reset && !c->fin_sent
           && !c->close_read;
}

/* How long everything may take to be delivered over a healthy connection. */
static uint64_t settle_us(void)
{
    uint64_t rounds =
        60 + 3 * (sim.plan.options.max_queue_size + MTWS_PART_MAX * 5) / sim.plan.pipe_size;
    uint64_t us = rounds * (sim.plan.trip_us + 2000);
    us += 6
          * option_us(sim.plan.options.confirm_delay_ms < 0 ? 0 : sim.plan.options.confirm_delay_ms,
                      100);
    us += sim.plan.options.confirm_delay_ms == MTWS_OFF ? 6 * interval_us() : 0;
    us += conn_now()->lost_pong || has(T_LOST_PONG) ? 65 * timeout_us() : 0;
    return patience(us) + 4 * timeout_us();
}

/* Whether the program takes a message from the server a tick, however many there are. */
static bool is_slow(void)
{
    return has(T_TICK) && has(T_ONE_POLL);
}

/* The time by which the client has to be connected, or all to be settled, after this moment. */
static void calm_times(void)
{
    const conn *c = conn_now();
    sim.open_by_us = sim.settle_by_us = NEVER;
    if (!sim.quiet || sim.ending != 0 || sim.stop_asked || sim.now_us < sim.asleep_us
        || has(T_SLOW_FOREVER) || has(T_POISON_FOREVER)) {
        return; /* DISCONNECTED comes first, or there is no telling */
    }
    if (sim.state == MTWS_STATE_CONNECTED && conn_is_well(c)) {
        sim.settle_by_us = sim.unsettled > 0 && !is_slow() ? sim.now_us + settle_us() : NEVER;
    } else if (sim.state == MTWS_STATE_RECONNECTING && !conn_held(c)) {
        sim.open_by_us = most(sim.retry_us, sim.now_us) + patience(connect_timeout_us());
    } else if (sim.state == MTWS_STATE_CONNECTED) {
        sim.open_by_us = sim.now_us + patience(notice_us() + connect_timeout_us());
    } else {
        sim.open_by_us = sim.now_us + patience(connect_timeout_us());
    }
    REQUIRE(sim.failures_quiet <= 4, "not stable", "%llu failures after everything healed",
            (unsigned long long)sim.failures_quiet);
}

static void destroy(int how)
{
    trace(TRACE_CALL, CALL_DESTROY, (uint64_t)how, 0);
    sim.polling = sim.destroying = true; /* transport.close is called from here too */
    mtws_destroy(sim.ws);
    sim.polling = false;
    for (int i = 0; i < FDS_MAX; i++) {
        REQUIRE(sim.fds[i].kind == FD_FREE, "descriptor", "mtws_destroy leaves %d open",
                FD_BASE + i);
    }
    REQUIRE(!conn_held(conn_now()), "not closed", "mtws_destroy leaves the transport open");
    ground_check();
    sim.ending = 2;
    trace(TRACE_END, sim.count, sim.serial, (uint64_t)how);
}

/* Whether what was sent just before mtws_disconnect is delivered before the end. */
static bool drains(void)
{
    const mtws_options *o = &sim.plan.options;
    bool asks = o->confirm == MTWS_CONFIRM_NONE
                || (o->confirm == MTWS_CONFIRM_PONG && o->confirm_delay_ms != MTWS_OFF);
    return asks && !o->hold_queue && !has(T_SLOW_FOREVER) && !has(T_POISON_FOREVER) && !has(T_TTL)
           && !is_slow() && settle_us() < close_timeout_us() * 4 / 5;
}

static void begin_ending(void)
{
    if (sim.plan.ending == ENDING_DESTROY) {
        destroy(0);
        return;
    }
    for (int i = 0; i < 3 && sim.plan.ending == ENDING_DRAIN; i++) {
        program_send(NAME_SIZE, MTWS_BINARY, 0, false);
    }
    sim.ending = 1;
    program_disconnect(1000, "bye");
}

static void end_disconnected(void)
{
    if (sim.state != MTWS_STATE_DISCONNECTED) {
        return;
    }
    if (!has(T_SLOW_FOREVER) && !has(T_POISON_FOREVER) && !is_slow()) {
        REQUIRE(sim.stop_result == MTWS_OK, "graceful end", "mtws_disconnect ends with %d (%s)",
                sim.stop_result, sim.failure_reason);
    }
    REQUIRE(!drains() || sim.unsettled == 0, "drain",
            "%llu messages are not settled after mtws_disconnect",
            (unsigned long long)sim.unsettled);
    destroy(1);
}

/* A refusal to begin another message in parts does not hold for the one that is under way. */
static bool parts_refused(void)
{
    return sim.refused && sim.refused_queue == CLASS_PARTS && sim.refused_part == sim.part_id;
}

/* The program, once it only wants everything delivered. */
static void calm(void)
{
    if (!sim.quiet || sim.ending == 2) {
        return;
    }
    if (sim.ending == 1) {
        end_disconnected();
        return;
    }
    for (int i = 0; i < 8 && sim.part_id != 0 && !parts_refused() && !sim.stop_asked; i++) {
        program_part(false);
    }
    if (sim.part_id != 0 && !parts_refused() && !sim.stop_asked) {
        sim.confirm_us = least(sim.confirm_us, sim.now_us + 1000);
    }
    if (sim.unsettled == 0) {
        sim.settle_by_us = NEVER;
    }
    if (sim.state == MTWS_STATE_CONNECTED && sim.unsettled == 0 && !sim.refused && !sim.stop_asked
        && conn_is_well(conn_now())) {
        begin_ending();
    } else if (has(T_BLOCK)) {
        sim.confirm_us = least(sim.confirm_us, sim.now_us + 1000000); /* it looks again */
    }
}

/* ---- polling --------------------------------------------------------------------------------- */

/* A number that is used again for another socket has another serial number. */
static void note_serial(descriptor *d, uint32_t serial)
{
    bool socket = d->kind == FD_STREAM || d->kind == FD_DEAD || d->kind == FD_DATAGRAM;
    if (socket && d->known_opened != d->opened) {
        REQUIRE(d->known_opened == 0 || d->known != serial, "serial",
                "another socket, and the serial number is still %u", serial);
        d->known = serial;
        d->known_opened = d->opened;
    }
}

static void ask_wait(void)
{
    mtws_wait before = sim.wait;
    if (sim.ending == 2 || has(T_BLOCK)) {
        return;
    }
    memset(&sim.wait, 0, sizeof sim.wait);
    mtws_get_wait(sim.ws, &sim.wait);
    sim.wait_us = sim.now_us;
    sim.ready_us = NEVER;
    sim.late_us = 0;
    if (strikes(T_LATE_POLL)) {
        sim.late_us = rng_scale(&sim.streams[T_LATE_POLL], 10, 30000);
    }
    REQUIRE(sim.wait.count >= 0 && sim.wait.count <= MTWS_WAIT_MAX, "wait", "%d descriptors",
            sim.wait.count);
    REQUIRE(sim.wait.timeout_ms >= -1, "wait", "a timeout of %d", sim.wait.timeout_ms);
    const mtws_wait_fd *socket = NULL;
    for (int i = 0; i < sim.wait.count; i++) {
        const mtws_wait_fd *fd = &sim.wait.fds[i];
        descriptor_events(fd->fd); /* it exists */
        bool own = fd->fd < HOOK_FD && sim.fds[fd->fd - FD_BASE].kind != FD_STREAM;
        socket = own ? socket : fd;
        if (fd->fd < HOOK_FD) {
            note_serial(&sim.fds[fd->fd - FD_BASE], fd->serial);
        }
    }
    REQUIRE((socket != NULL) == conn_held(conn_now()), "wait", "the connection's descriptor is %s",
            socket != NULL ? "there" : "not there");
    bool reads = socket != NULL && socket->want_read, writes = socket != NULL && socket->want_write;
    const conn *c = conn_now();
    REQUIRE(reads || sim.paused || sim.wait.timeout_ms == 0 || !conn_held(c) || c->stage != STAGE_UP
                || c->in.arrived == c->in.taken || c->reset,
            "deaf", "bytes are there, and the client does not want to read");
    if (sim.at_rest || sim.wait.timeout_ms != before.timeout_ms || reads != sim.wanted_read
        || writes != sim.wanted_write) {
        trace(TRACE_WAIT, (uint64_t)(int64_t)sim.wait.timeout_ms, reads, writes);
    }
    sim.wanted_read = reads;
    sim.wanted_write = writes;
}

static bool descriptor_ready(void)
{
    for (int i = 0; i < sim.wait.count; i++) {
        const mtws_wait_fd *fd = &sim.wait.fds[i];
        int events = descriptor_events(fd->fd);
        if ((fd->want_read && (events & (POLLIN | POLLHUP)) != 0)
            || (fd->want_write && (events & (POLLOUT | POLLHUP)) != 0)) {
            return true;
        }
    }
    return false;
}

/* When a transport that holds bytes would have said so. */
static bool held_bytes_ready(void)
{
    const conn *c = conn_now();
    return has(T_HELD_BYTES) && sim.wanted_read && conn_held(c) && c->stage == STAGE_UP
           && conn_readable(c);
}

static uint64_t next_poll_us(void)
{
    uint64_t due = NEVER;
    if (has(T_BLOCK)) {
        due = sim.idle ? NEVER : sim.now_us; /* the wait is within mtws_poll */
    } else if (has(T_TICK)) {
        due = sim.polled_us + sim.plan.tick_us;
    } else {
        if (sim.wait.timeout_ms >= 0) {
            due = sim.wait_us + (uint64_t)sim.wait.timeout_ms * 1000;
        }
        if (descriptor_ready() || held_bytes_ready()) {
            sim.ready_us = sim.ready_us == NEVER ? sim.now_us : sim.ready_us;
            due = least(due, sim.ready_us);
        }
        due = later(due, sim.late_us);
    }
    if (sim.quiet && sim.asleep_us != 0) {
        due = least(due, sim.asleep_us); /* a calm program looks what it has missed */
    }
    return most(due, sim.asleep_us);
}

/* A client that has nothing to do must not want to be called all the time. */
static void check_idle(void)
{
    if (sim.progress != sim.idle_progress) {
        sim.idle_progress = sim.progress;
        sim.idle_polls = 0;
        sim.idle_since_us = sim.now_us;
        return;
    }
    uint64_t bound = 12 + (sim.now_us - sim.idle_since_us) / 50000;
    if (has(T_NATIVE) && heartbeats()) { /* whether what lies before a question leaves the kernel */
        const conn *c = conn_now();
        bool unsent = conn_held(c) && c->out.sent > c->out.arrived;
        bound += unsent ? 8 * (sim.now_us - sim.idle_since_us) / timeout_us() : 0;
    }
    REQUIRE(has(T_TICK) || ++sim.idle_polls <= bound, "spin",
            "%llu polls without anything done, in %llu us", (unsigned long long)sim.idle_polls,
            (unsigned long long)(sim.now_us - sim.idle_since_us));
}

/* What the program does about an event, where it hears of it. */
static void react(const mtws_event *e)
{
    if (++sim.events == sim.destroy_event) {
        destroy(2);
        return;
    }
    program_on_event(e);
    if (e->type == MTWS_EVENT_STATE) {
        calm_times();
    }
    if (has(T_DISCONNECT) && !sim.quiet && rng_chance(&sim.program, 1)) {
        program_disconnect(0, NULL);
    }
}

static void on_message(mtws_client *ws, const mtws_event *e, void *user)
{
    REQUIRE(ws == sim.ws && user == &sim && e->type == MTWS_EVENT_MESSAGE, "handler",
            "of a message");
    sim.handled = true;
    react(e);
}

static void on_state(mtws_client *ws, const mtws_event *e, void *user)
{
    REQUIRE(ws == sim.ws && user == &sim && e->type == MTWS_EVENT_STATE, "handler", "of a state");
    sim.handled = true;
    react(e);
}

static void dispatch(const mtws_event *e)
{
    bool wanted = e->type == MTWS_EVENT_MESSAGE || e->type == MTWS_EVENT_STATE;
    sim.handled = false;
    bool called = mtws_dispatch(sim.ws, e);
    REQUIRE(called == wanted && sim.handled == wanted, "handler", "mtws_dispatch gives %d", called);
    if (!wanted) {
        react(e);
    }
}

/* What one mtws_poll that does not wait may cost: see WORK in the manual. */
static void work_begins(void)
{
    sim.reads = sim.writes = sim.opens = sim_sys_calls = 0;
    sim.work_in = sim.bytes_in;
    sim.work_out = sim.bytes_out;
}

static void check_work(void)
{
    if (has(T_BLOCK)) {
        return;
    }
    const mtws_options *o = &sim.plan.options;
    uint64_t in = sim.bytes_in - sim.work_in, out = sim.bytes_out - sim.work_out;
    uint64_t rings = o->max_queue_size + MTWS_FIRST_MAX + MTWS_PART_MAX;
    REQUIRE(sim_sys_calls <= MTWS__CALLS_MAX, "work", "%u system calls in one poll", sim_sys_calls);
    REQUIRE(in <= o->max_message_size + MTWS__READ_AHEAD, "work", "%llu bytes read in one poll",
            (unsigned long long)in);
    uint64_t control = MTWS__CONTROL_ROOM * (MTWS__PONG_FLUSHES + 2);
    REQUIRE(out <= rings + MTWS_REQUEST_MAX + control, "work",
            "%llu bytes written in one poll", (unsigned long long)out);
}

/* mtws_poll is about to wait for something. */
static void note_wait(void)
{
    work_begins();
    check_idle();
    model_waits();
}

/* How long the program lets mtws_poll wait. */
static int32_t poll_timeout(void)
{
    if (!has(T_BLOCK) || (sim.quiet && !sim.at_rest)) {
        return 0;
    }
    uint64_t act_us = next_act_us();
    uint64_t left_us = act_us == NEVER || act_us <= sim.now_us ? 0 : act_us - sim.now_us;
    switch (rng_below(&sim.program, 4)) {
    case 0: return -1;
    case 1: return (int32_t)rng_scale(&sim.program, 1, 10000);
    default: return left_us / 1000 > 1000000 || left_us == 0 ? -1 : (int32_t)(left_us / 1000 + 1);
    }
}

/* One mtws_poll. True: there was an event. */
static bool poll_once(void)
{
    mtws_event e;
    memset(&e, 0xee, sizeof e);
    work_begins();
    sim.polling = true;
    conn_now()->again_before = conn_now()->again;
    sim.counts.polls++;
    int result = mtws_poll(sim.ws, &e, poll_timeout());
    sim.polling = false;
    check_work();
    sim.polled_us = sim.now_us;
    sim.at_rest = result != 1;
    sim.idle = result == MTWS_ERR_IDLE;
    trace(TRACE_POLL, (uint64_t)(int64_t)result, e.type, e.state);
    if (result != 1) {
        REQUIRE(e.type == MTWS_EVENT_NONE && e.state == sim.state, "event",
                "an event of type %d without a word of it", e.type);
        model_at_rest(result);
        return false;
    }
    model_event(&e);
    if (e.type == MTWS_EVENT_STATE && e.state == MTWS_STATE_DISCONNECTED) {
        sim.stop_result = e.result;
        snprintf(sim.failure_reason, sizeof sim.failure_reason, "%s", e.reason);
    }
    if (has(T_HANDLERS)) {
        dispatch(&e);
    } else {
        react(&e);
    }
    return sim.ending != 2;
}

static void poll_all(bool counted)
{
    uint64_t barren = 0;
    uint64_t bytes = sim.bytes_in + sim.bytes_out + sim.unsettled + sim.handed;
    if (sim.asleep_us != 0) {
        sim.asleep_us = 0;
        sim.woken_us = sim.now_us;
        /* A gap of under a second is not made up for. */
        uint64_t longest = most(connect_timeout_us(), close_timeout_us());
        if (sim.now_us - sim.polled_us < longest + 1100000) {
            allow(conn_now(), MTWS_ERR_TIMEOUT);
        }
        calm_times();
    }
    while (poll_once() && !has(T_ONE_POLL) && sim.asleep_us <= sim.now_us) {
        uint64_t now = sim.bytes_in + sim.bytes_out + sim.unsettled + sim.handed;
        barren = now == bytes ? barren + 1 : 0;
        bytes = now;
        REQUIRE(barren < 200, "livelock", "200 events in one loop, and not a byte moves");
    }
    if (sim.ending == 2) {
        return;
    }
    calm();
    ask_wait();
    if (sim.ending == 2) {
        return;
    }
    check_attempts();
    if (sim.at_rest || (!has(T_BLOCK) && sim.wait.timeout_ms != 0)) {
        check_times();
    }
    if (!has(T_BLOCK) && sim.wait.timeout_ms != 0) {
        model_pongs();
        if (sim.at_rest) {
            model_waits();
        }
    }
    if (counted && !has(T_BLOCK)) {
        check_idle();
    }
}

/* ---- what happens ---------------------------------------------------------------------------- */

static void sleep_until(uint64_t at_us)
{
    sim.open_by_us = sim.settle_by_us = NEVER;
    sim.asleep_us = most(sim.asleep_us, at_us);
    trace(TRACE_ASLEEP, sim.asleep_us, 0, 0);
}

/* A machine that sleeps receives nothing, nor at once when it is awake. It sleeps long enough for
 * the client to notice it by a deadline that is over. */
static void machine_sleeps_for(uint64_t us)
{
    conn *c = conn_now();
    uint64_t longest_us = most(4 * timeout_us(), most(connect_timeout_us(), close_timeout_us()));
    uint64_t shortest_us = least(timeout_us(), least(connect_timeout_us(), close_timeout_us()));
    uint64_t at_us = sim.now_us + most(us, longest_us + 2000000);
    sleep_until(at_us);
    if (conn_held(c)) {
        uint64_t until_us = later(at_us, rng_below(&sim.streams[T_SLEEP], shortest_us / 6));
        lane_hole(c, &c->out, 0, until_us);
        lane_hole(c, &c->in, 1, until_us);
        sim.nap_us = until_us;
    }
}

/* Faults of the present connection. */
static void handle_fault(conn *c, int trait)
{
    switch (trait) {
    case T_CUT: fault_cut(c); break;
    case T_RESET: link_break(c, 0); break;
    case T_END: server_gone(c, rng_chance(&sim.streams[trait], 30)); break;
    case T_IO_RESULT: fault_io_result(c); break;
    case T_GARBAGE: server_garbage(c); break;
    default: fault_hole(c, trait); break;
    }
}

/* What the server does of its own accord. */
static void handle_server(conn *c, int trait)
{
    switch (trait) {
    case T_SILENT: fault_silence(c); break;
    case T_WRONG_PONG: server_wrong_pong(c); break;
    case T_HOSTILE: server_hostile(c); break;
    case T_FLOOD: server_flood(c); break;
    case T_SERVER_PING: server_ping(c); break;
    case T_SERVER_BEAT: server_beat(c); break;
    case T_SERVER_CLOSE: server_begin_close(c, RNG_PICK(&sim.streams[trait], server_codes)); break;
    default: server_push(c); break;
    }
}

/* The machine, and the program's main loop. */
static void handle_machine(int trait)
{
    rng *r = &sim.streams[trait];
    switch (trait) {
    case T_LINK_DOWN: fault_link_down(); break;
    case T_NETLINK: network_changed(); break;
    case T_SLEEP: machine_sleeps_for(rng_scale(r, 60000000, 40000000000u)); break;
    case T_NO_POLL: sleep_until(sim.now_us + rng_scale(r, 100000, 60000000)); break;
    case T_SPURIOUS_POLL: poll_all(false); break;
    case T_WAKE: REQUIRE(mtws_wake(sim.ws) == MTWS_OK, "wake", "mtws_wake fails"); break;
    case T_WALL_JUMP:
        trace(TRACE_FAULT, T_WALL_JUMP, 0, 0);
        sim.wall_ms += (int64_t)rng_below(r, 630720000000u) - 315360000000;
        break;
    default:
        program_now_and_then(trait);
        sim.at_rest = sim.idle = false;
        break;
    }
}

static void handle_trait(int trait)
{
    conn *c = conn_now();
    bool up = conn_held(c) && c->stage == STAGE_UP && c->server != SERVER_GONE;
    switch (trait) {
    case T_CUT:
    case T_RESET:
    case T_END:
    case T_IO_RESULT:
    case T_GARBAGE:
    case T_DEAD_OUT:
    case T_DEAD_IN:
        if (up) {
            handle_fault(c, trait);
        }
        break;
    case T_SILENT:
    case T_WRONG_PONG:
    case T_HOSTILE:
    case T_FLOOD:
    case T_SERVER_PING:
    case T_SERVER_BEAT:
    case T_SERVER_CLOSE:
    case T_PUSH:
        if (up && c->server == SERVER_OPEN) {
            handle_server(c, trait);
        }
        break;
    default: handle_machine(trait); break;
    }
}

/* Something that comes again and again. */
static void handle_again(int trait)
{
    bool program = trait == T_CLEAR || trait == T_PAUSE || trait == T_DISCONNECT || trait == T_RETRY
                   || trait == T_NEW_URL || trait == T_SPURIOUS_POLL || trait == T_MANUAL;
    bool harmless = program || trait == T_PUSH || trait == T_SERVER_PING || trait == T_WRONG_PONG
                    || trait == T_WAKE || trait == T_NETLINK || trait == T_SERVER_BEAT;
    if (sim.quiet || (sim.healed && !harmless)) {
        return;
    }
    if (!program || sim.now_us >= sim.asleep_us) {
        uint64_t before = sim.trace_count;
        handle_trait(trait);
        sim.counts.hits[trait] += sim.trace_count != before;
    }
    plan_event(sim.now_us + rng_between(&sim.streams[trait], 1, 2 * sim.plan.pace_us[trait]),
               EV_TRAIT, (uint32_t)trait, 0);
}

static void handle_quiet(void)
{
    trace(TRACE_QUIET, sim.count, sim.unsettled, 0);
    sim.quiet = true;
    sim.action_us = NEVER;
    if (sim.paused) {
        program_pause(false);
    }
    if (sim.state == MTWS_STATE_CONNECTED && has(T_HOLD)) {
        program_release();
    }
    if (has(T_MANUAL)) {
        program_network(true);
    }
    if (sim.again_us != NEVER) {
        sim.again_us = sim.now_us;
    }
    sim.confirm_us = has(T_BY_PROGRAM) ? sim.now_us : NEVER;
    calm_times();
    sim.at_rest = sim.idle = false;
    if (sim.now_us >= sim.asleep_us) {
        poll_all(false);
    }
}

static void handle_conn(conn *c, const happening *h)
{
    switch (h->kind) {
    case EV_ARRIVE_OUT: link_arrived_out(c); break;
    case EV_ARRIVE_IN: link_arrived_in(c); break;
    case EV_CONNECTED: link_connected(c); break;
    case EV_FIN: link_fin(c); break;
    case EV_RESET:
        if (c->stage != STAGE_CLOSED && !c->reset) {
            c->reset = true;
            c->reset_lossy = h->extra != 0;
            c->reset_arrived = c->in.arrived;
        }
        break;
    case EV_UNHOLE: link_unhole(c); break;
    case EV_SERVE:
        c->busy = false;
        server_work(c);
        break;
    case EV_ANSWER: server_answer(c); break;
    case EV_DRIP: server_drip(c); break;
    case EV_PONG:
        c->pong_waits = false;
        server_pong(c, c->pong, c->pong_size, c->pong_end);
        break;
    case EV_HANG_UP: server_gone(c, !sim.healed && rng_chance(&sim.server, 20)); break;
    default: break;
    }
}

static void handle(const happening *h)
{
    conn *c = conn_of(h->serial);
    if (h->kind == EV_TRAIT) {
        handle_again((int)h->serial);
    } else if (h->kind == EV_NAP) {
        if (!sim.healed && sim.now_us >= sim.asleep_us) {
            sim.counts.hits[T_SLEEP]++;
            machine_sleeps_for(rng_scale(&sim.streams[T_SLEEP], 2000000, 40000000000u));
        }
    } else if (h->kind == EV_HEAL) {
        trace(TRACE_HEAL, 0, 0, 0);
        sim.healed = true;
        sim.down_until_us = 0;
        link_heal();
    } else if (h->kind == EV_ONLINE) {
        interfaces_back();
    } else if (h->kind == EV_QUIET) {
        handle_quiet();
    } else if (c->serial == h->serial && h->serial != 0) {
        handle_conn(c, h);
    }
}

static void act(void)
{
    if (sim.now_us >= sim.destroy_us) {
        destroy(3);
        return;
    }
    if (sim.now_us >= sim.confirm_us) {
        sim.confirm_us = NEVER;
        if (has(T_BY_PROGRAM)) {
            program_confirm();
        }
    } else if (sim.now_us >= sim.again_us) {
        sim.again_us = NEVER;
        if (sim.state == MTWS_STATE_DISCONNECTED || sim.state == MTWS_STATE_FAILED) {
            program_connect_again();
        }
    } else {
        program_act();
    }
    sim.at_rest = sim.idle = false;
}

/* ---- one run --------------------------------------------------------------------------------- */

static void world_start(uint64_t seed, const trait_mask *allowed_traits, unsigned percent)
{
    memset(&sim, 0, offsetof(world, agenda));
    sim.agenda.count = 0;
    sim.agenda.order = 0;
    for (int i = 0; i < CONNS_MAX; i++) {
        sim.conns[i].serial = 0;
        sim.conns[i].stage = STAGE_NONE;
    }
    plan_draw(&sim.plan, seed, allowed_traits, percent);
    for (int i = 0; i < TRAITS_COUNT; i++) {
        sim.streams[i].state = rng_mix(seed * 3 + 1) + (uint64_t)i * 0xd1b54a32d192ed03u;
    }
    sim.net.state = rng_mix(seed ^ 0x6e6574u);
    sim.server.state = rng_mix(seed ^ 0x736572766572u);
    sim.program.state = rng_mix(seed ^ 0x70726f67u);
    sim.entropy.state = rng_mix(seed ^ 0x656e74u);
    sim.now_us = sim.plan.start_us;
    sim.open_from = 1;
    sim.passed = NEVER;
    sim.retry_us = sim.again_us = sim.destroy_us = sim.confirm_us = NEVER;
    sim.open_by_us = sim.settle_by_us = NEVER;
    sim.at_rest = true;
    plan_event(sim.plan.heal_us, EV_HEAL, 0, 0);
    plan_event(sim.plan.quiet_us, EV_QUIET, 0, 0);
    for (int i = 0; i < TRAITS_COUNT; i++) {
        if (has(i) && traits[i].kind == 'E') {
            uint64_t first = rng_between(&sim.streams[i], 0, sim.plan.pace_us[i]);
            plan_event(sim.now_us + first, EV_TRAIT, (uint32_t)i, 0);
        }
    }
    sim.action_us = sim.now_us + rng_below(&sim.program, sim.plan.action_us);
    if (has(T_DESTROY) && rng_chance(&sim.program, 50)) {
        sim.destroy_us = rng_between(&sim.program, sim.plan.start_us, sim.plan.quiet_us);
    } else if (has(T_DESTROY)) {
        sim.destroy_event = rng_scale(&sim.program, 1, 200);
    }
}

static void client_start(uint8_t filler)
{
    static mtws_pair headers[] = {
        {"Cookie", "sid=S3crCookie; theme=dark"}, {"Origin", "http://example"}, {NULL, NULL}};
    mtws_options *o = &sim.plan.options;
    o->headers = headers;
    if (!has(T_NATIVE)) {
        o->transport.open = hook_open;
        o->transport.read = hook_read;
        o->transport.write = hook_write;
        o->transport.wait = hook_wait;
        o->transport.close = hook_close;
        o->random.fill = hook_fill;
    }
    if (!has(T_BLOCK) && sim.plan.seed % 2 == 0) { /* waits are in real time */
        o->clock.now_us = hook_now_us;
        o->clock.unix_ms = hook_unix_ms;
    }
    o->logger.log = hook_log;
    size_t size = mtws_memory_required(o);
    ground_prepare(size, filler);
    if (sim.plan.odd_offset == 0) {
        ground.refuses = true;
        REQUIRE(mtws_create(&sim.ws, o) == MTWS_ERR_MEMORY && sim.ws == NULL, "create",
                "created without memory");
        ground.refuses = false;
        mtws_result result = mtws_create(&sim.ws, o);
        REQUIRE(result == MTWS_OK, "create", "mtws_create gives %d", result);
    } else {
        REQUIRE(mtws_create_in(&sim.ws, o, ground.block, size - 1) == MTWS_ERR_MEMORY, "create",
                "created in too little memory");
        mtws_result result = mtws_create_in(&sim.ws, o, ground.block, size);
        REQUIRE(result == MTWS_OK, "create", "mtws_create_in gives %d", result);
    }
    if (has(T_HANDLERS)) {
        REQUIRE(mtws_on_message(sim.ws, NULL, on_message, &sim) == MTWS_OK
                    && mtws_on_state(sim.ws, on_state, &sim) == MTWS_OK,
                "handler", "registering");
    }
    program_new_url();
    program_connect();
    ask_wait();
}

static void run(void)
{
    while (sim.ending != 2) {
        uint64_t poll_at = next_poll_us(), act_at = next_act_us();
        uint64_t event_at = sim.agenda.count > 0 ? sim.agenda.heap[0].at_us : NEVER;
        uint64_t next = least(poll_at, least(act_at, event_at));
        step();
        if (next == NEVER) {
            sim.now_us += (uint64_t)1 << 45;
            check_attempts();
            check_times();
            violate("stuck", "nothing will ever happen any more, in state %d, %llu not settled",
                    sim.state, (unsigned long long)sim.unsettled);
        }
        sim.now_us = most(sim.now_us, next);
        if (event_at <= next) {
            happening h = agenda_take(&sim.agenda);
            handle(&h);
            if (h.kind == EV_TRAIT || h.kind == EV_QUIET) {
                ask_wait();
            }
        } else if (act_at <= next) {
            act();
            ask_wait();
        } else {
            poll_all(true);
        }
    }
}

typedef struct outcome {
    bool failed;
    uint64_t hash;
    char text[512], key[128];
    trait_mask on;
} outcome;

static outcome run_seed(uint64_t seed, const trait_mask *allowed_traits, unsigned percent,
                        uint8_t filler)
{
    outcome out;
    memset(&out, 0, sizeof out);
    world_start(seed, allowed_traits, percent);
    if (setjmp(sim.escape) == 0) {
        client_start(filler);
        run();
    } else {
        out.failed = true;
        memcpy(out.text, sim.violation, sizeof out.text);
        memcpy(out.key, sim.violation_key, sizeof out.key);
    }
    out.hash = sim.trace_hash;
    out.on = sim.plan.on;
    sim.counts.virtual_us += sim.now_us - sim.plan.start_us;
    sim.counts.bytes_out += sim.bytes_out;
    sim.counts.bytes_in += sim.bytes_in;
    return out;
}

#endif
