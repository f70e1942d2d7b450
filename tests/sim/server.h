/* The scripted server: answers upgrades, takes messages, answers Pings, sends messages, and does
 * all that a server should not.
 */
#ifndef MTWS_SIM_SERVER_H_INCLUDED
#define MTWS_SIM_SERVER_H_INCLUDED

/* ---- sending --------------------------------------------------------------------------------- */

static bool server_can_send(const conn *c, size_t size, size_t reserve)
{
    return c->serial == sim.serial && c->server != SERVER_GONE && !c->fin_sent
           && c->in.sent - c->in.taken + size + reserve <= IN_SIZE;
}

static void server_send(conn *c, const void *data, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)data;
    if (size == 0 || !server_can_send(c, size, 0)) {
        return;
    }
    size_t place = (size_t)(c->in.sent % IN_SIZE);
    size_t first = size < IN_SIZE - place ? size : IN_SIZE - place;
    memcpy(sim.in_bytes + place, bytes, first);
    memcpy(sim.in_bytes, bytes + first, size - first);
    lane_send(c, &c->in, EV_ARRIVE_IN, size);
}

/* What was just sent means something once the client has read it. */
static void server_mark(conn *c, uint32_t kind, uint64_t value)
{
    const in_item *last = &sim.in_items[(sim.in_head + sim.in_count - 1) % IN_ITEMS_MAX];
    if (c->serial != sim.serial) {
        return;
    }
    if (sim.in_count > 0 && kind == IN_PING && last->kind == IN_PING) {
        sim.in_count--; /* of several the latest says enough */
    }
    REQUIRE(sim.in_count < IN_ITEMS_MAX, "simulator", "too much is under way to the client");
    in_item *item = &sim.in_items[(sim.in_head + sim.in_count++) % IN_ITEMS_MAX];
    item->end = c->in.sent;
    item->kind = kind;
    item->value = value;
}

static size_t server_header(uint8_t out[10], unsigned first, uint64_t size)
{
    out[0] = (uint8_t)first;
    if (size < 126) {
        out[1] = (uint8_t)size;
        return 2;
    }
    size_t bytes = size < 65536 ? 2 : 8;
    out[1] = bytes == 2 ? 126 : 127;
    for (size_t i = 0; i < bytes; i++) {
        out[2 + i] = (uint8_t)(size >> (8 * (bytes - 1 - i)));
    }
    return 2 + bytes;
}

static void server_frame(conn *c, unsigned first, const void *payload, size_t size)
{
    uint8_t header[10];
    size_t head = server_header(header, first, size);
    if (server_can_send(c, head + size, 0)) {
        server_send(c, header, head);
        server_send(c, payload, size);
    }
}

/* ---- the end of a connection ----------------------------------------------------------------- */

/* The server ends TCP: in order, or with a reset. */
static void server_gone(conn *c, bool reset)
{
    if (c->server == SERVER_GONE) {
        return;
    }
    trace(TRACE_SERVER_GONE, c->serial, reset, 0);
    c->server = SERVER_GONE;
    c->out.limit = c->out.taken;
    c->dead_us = c->dead_us == NEVER ? sim.now_us : c->dead_us;
    allow(c, MTWS_ERR_RESET);
    uint64_t at_us = most(c->in.last_us, sim.now_us + link_latency_us());
    if (reset) {
        link_reset(c, at_us, rng_chance(&sim.server, 50));
    } else {
        c->fin_sent = true;
        c->in.last_us = at_us;
        plan_event(at_us, EV_FIN, c->serial, 0);
    }
}

/* The network breaks the connection: the server sees nothing more, the client a reset, an end, or
 * nothing. */
static void link_break(conn *c, int how)
{
    bool lossy = rng_chance(&sim.net, 50);
    trace(TRACE_BREAK, c->serial, (uint64_t)how, lossy);
    c->server = SERVER_GONE;
    c->out.limit = least(c->out.limit, c->out.arrived);
    c->dead_us = c->dead_us == NEVER ? sim.now_us : c->dead_us;
    allow(c, MTWS_ERR_RESET);
    if (how == 0) {
        link_reset(c, sim.now_us + sim.plan.latency_us, lossy);
    } else if (how == 1) {
        c->fin_sent = true;
        plan_event(most(c->in.last_us, sim.now_us + sim.plan.latency_us), EV_FIN, c->serial, 0);
    } else {
        allow(c, MTWS_ERR_HEARTBEAT);
        allow(c, MTWS_ERR_TIMEOUT);
        lane_hole(c, &c->in, 1, NEVER);
        lane_hole(c, &c->out, 0, NEVER);
    }
}

/* How a connection breaks: silently only where heartbeats can notice. */
static int link_break_kind(const conn *c)
{
    bool noticed = heartbeats() || c->opened_us == NEVER;
    return (int)rng_below(&sim.net, noticed ? 3 : 2);
}

static const uint16_t server_codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                        1011, 1012, 1013, 1014, 1005, 3000, 4000, 4999};

/* A Close frame with this code (1005: none). */
static void server_close(conn *c, uint16_t code)
{
    uint8_t body[125];
    size_t size = 0;
    char reason[124] = "";
    if (code != 1005) {
        body[0] = (uint8_t)(code >> 8);
        body[1] = (uint8_t)code;
        if (has(T_ECHO_SECRETS)) {
            snprintf(reason, sizeof reason, "no\n%s \x1b[1m%.60s", sim.target_secret,
                     sim.attempt_authorization);
        } else if (rng_chance(&sim.server, 50)) {
            snprintf(reason, sizeof reason, "going\x01 \xc3\xa9 away");
        }
        size = strlen(reason);
        memcpy(body + 2, reason, size);
        size += 2;
    }
    if (!server_can_send(c, size + 2, 0)) {
        return;
    }
    trace(TRACE_SERVER_CLOSE, c->serial, code, c->server == SERVER_CLOSING);
    server_frame(c, 0x88, body, size);
    if (!c->bad) {
        server_mark(c, IN_CLOSE, code);
    }
    if (!c->close_sent) {
        c->close_code = code;
    }
    c->close_sent = true;
    c->server = SERVER_CLOSING;
    allow(c, MTWS_ERR_CLOSED);
    if (has(T_HOSTILE) && !sim.healed && rng_chance(&sim.server, 50)
        && server_can_send(c, 100, IN_RESERVE / 2)) { /* what must not be taken any more */
        static const uint8_t late[] = {0x81, 4, 'l', 'a', 't', 'e', 0x89, 4, 0xff, 0xff, 0, 0,
                                       0x88, 0, 0x83, 0};
        server_send(c, late, sizeof late);
    }
    if (rng_chance(&sim.server, 30)) {
        c->deaf = true;
    }
}

/* A Close that the server begins; afterwards it waits for the client's, but not for ever. */
static void server_begin_close(conn *c, uint16_t code)
{
    if (c->server != SERVER_OPEN || !server_can_send(c, 130, 0)) {
        return;
    }
    server_close(c, code);
    if (!strikes(T_NO_CLOSE)) {
        plan_event(later(sim.now_us, rng_scale(&sim.server, 1000000, 20000000)), EV_HANG_UP,
                   c->serial, 0);
    }
}

/* What was just sent breaks the protocol. */
static void server_bad(conn *c)
{
    c->bad_end = c->bad ? c->bad_end : c->in.sent;
    c->bad = true;
}

/* ---- messages to the client ------------------------------------------------------------------ */

static void server_ping(conn *c)
{
    uint8_t payload[125];
    uint32_t counter = c->pings + 1;
    size_t size = rng_chance(&sim.server, 10) ? 125 : (size_t)rng_between(&sim.server, 4, 40);
    if (c->server != SERVER_OPEN || !server_can_send(c, size + 2, IN_RESERVE / 2)) {
        return;
    }
    c->pings = counter;
    memcpy(payload, &counter, 4);
    for (size_t i = 4; i < size; i++) {
        payload[i] = (uint8_t)(counter * 7 + i);
    }
    server_frame(c, 0x89, payload, size);
    if (!c->bad) {
        server_mark(c, IN_PING, counter);
    }
}

/* The client is to hand over what was just sent. */
static void server_expect(conn *c, uint8_t kind, size_t size, uint32_t number, bool broken)
{
    if (c->bad || c->garbage) {
        return;
    }
    push *p = &sim.pushes[(sim.push_head + sim.push_count++) % IN_ITEMS_MAX];
    p->end = c->in.sent;
    p->size = (uint32_t)size;
    p->number = number;
    p->kind = kind;
    p->broken = broken;
    sim.counts.pushes++;
}

/* Sends content in fragments drawn at random. */
static void server_fragments(conn *c, uint8_t kind, const uint8_t *content, size_t size)
{
    bool whole = rng_chance(&sim.server, 60);
    size_t most_size = (size_t)rng_scale(&sim.server, size / 64 + 1, size + 1);
    size_t done = 0;
    bool last;
    do {
        size_t part = whole ? size : (size_t)rng_between(&sim.server, 0, most_size);
        part = part < size - done ? part : size - done;
        last = done + part == size && (whole || rng_chance(&sim.server, 70));
        server_frame(c, (last ? 0x80u : 0u) | (done == 0 && !c->in_fragments ? kind : 0u),
                     content + done, part);
        c->in_fragments = !last;
        done += part;
        if (!last && has(T_SERVER_PING) && !c->bad && rng_chance(&sim.server, 30)) {
            server_ping(c);
        }
    } while (!last);
}

/* Sends a message. broken_at: a byte there is spoiled, if it is within. */
static void server_message(conn *c, uint8_t kind, size_t size, uint64_t broken_at)
{
    static uint8_t content[POOL_SIZE / 2];
    if (c->server != SERVER_OPEN || sim.push_count == IN_ITEMS_MAX
        || !server_can_send(c, 2 * size + 8192, IN_RESERVE)) {
        return;
    }
    uint32_t number = ++sim.push_number;
    content_fill(content, number, kind, size, 0, size);
    bool broken = broken_at < size;
    if (broken) {
        /* At the end it may be the start of a character that does not follow. */
        content[broken_at] = broken_at + 1 == size ? 0xe2 : 0xff;
    }
    trace(TRACE_SERVER_PUSH, number, size, kind);
    server_fragments(c, kind, content, size);
    server_expect(c, kind, size, number, broken);
    if (broken) {
        allow(c, MTWS_ERR_UTF8);
        server_bad(c);
    }
}

/* Some message, as large as the client takes. */
static void server_push(conn *c)
{
    uint8_t kind = rng_chance(&sim.server, 50) ? MTWS_TEXT : MTWS_BINARY;
    size_t size =
        (size_t)rng_scale(&sim.server, 1, sim.plan.push_max) - (size_t)rng_below(&sim.server, 2);
    server_message(c, kind, size, NEVER);
}

/* ---- Pongs ----------------------------------------------------------------------------------- */

static void server_pong(conn *c, const uint8_t *payload, size_t size, uint64_t ping_end)
{
    if (c->silent || c->server == SERVER_GONE || c->close_sent
        || !server_can_send(c, size + 2, 0)) {
        return;
    }
    server_frame(c, 0x8a, payload, size);
    c->lost_pong = false; /* a Pong answers for the Pings before */
    if (!c->bad) {
        server_mark(c, IN_PONG, ping_end);
    }
    memcpy(sim.old_pong, payload, size);
    sim.old_pong_size = (uint32_t)size;
}

static void server_takes_ping(conn *c, const out_item *item)
{
    bool lost = strikes(T_LOST_PONG);
    trace(TRACE_SERVER_PING, c->serial, !lost && !c->silent, 0);
    if (lost) {
        c->lost_pong = true;
        allow(c, MTWS_ERR_HEARTBEAT);
        return;
    }
    if (!has(T_LATE_PONG)) {
        server_pong(c, item->data, item->size, item->end);
        return;
    }
    memcpy(c->pong, item->data, sizeof c->pong);
    c->pong_size = item->size;
    c->pong_end = item->end;
    if (!c->pong_waits) {
        c->pong_waits = true;
        plan_event(sim.now_us + sim.plan.think_us, EV_PONG, c->serial, 0);
    }
}

/* A text of the server's own, in JSON, in fragments or not. */
static void server_json(conn *c, const char *text)
{
    if (c->server == SERVER_OPEN && !c->silent && server_can_send(c, 4096, IN_RESERVE / 2)) {
        if (has(T_STREAM)) { /* in fragments it would be handed over in parts */
            server_frame(c, 0x81, text, strlen(text));
        } else {
            server_fragments(c, MTWS_TEXT, (const uint8_t *)text, strlen(text));
        }
    }
}

static void server_takes_beat(conn *c, const out_item *item)
{
    static const char *const forms[] = {
        "{\"type\":\"heartbeat_response\",\"timestamp\":1,\"originalTimestamp\":%llu}",
        " {\"originalTimestamp\" : "
        "%llu,\n\"x\":[{\"type\":\"no\"}],\"type\":\"heartbeat_response\"}",
        "{\"type\":\"chat\",\"type\":\"heartbeat\\u005fresponse\",\"originalTimestamp\":%llu}",
    };
    char text[200];
    bool lost = strikes(T_LOST_PONG);
    trace(TRACE_SERVER_BEAT, item->id, c->serial, !lost && !c->silent);
    if (lost) {
        c->lost_beat = true;
        allow(c, MTWS_ERR_HEARTBEAT);
        return;
    }
    c->lost_beat = c->lost_beat && c->silent;
    snprintf(text, sizeof text, RNG_PICK(&sim.server, forms), (unsigned long long)item->id);
    server_json(c, text);
    if (!c->bad && !c->silent && c->server == SERVER_OPEN) {
        server_mark(c, IN_BEAT, item->end);
    }
}

/* The server asks too: the client must answer the latest. */
static void server_beat(conn *c)
{
    char text[100];
    if (c->server == SERVER_OPEN && !c->silent && server_can_send(c, 4096, IN_RESERVE / 2)) {
        snprintf(text, sizeof text, "{\"type\":\"heartbeat\",\"timestamp\":%llu}",
                 (unsigned long long)++c->beats);
        server_json(c, text);
    }
}

/* An answer in JSON to no heartbeat of the client's. */
static void server_wrong_answer(conn *c)
{
    rng *r = &sim.streams[T_WRONG_PONG];
    static const char *const values[] = {"0", "1", "-1", "1e3", "null", "\"\"",
                                         "99999999999999999999999999"};
    char text[160];
    uint64_t stale = c->tap.last_beat == 0 ? 7 : c->tap.last_beat + 1;
    bool near = rng_chance(r, 50);
    snprintf(text, sizeof text, "{\"type\":\"heartbeat_response\",\"originalTimestamp\":%.0llu%s}",
             near ? (unsigned long long)stale : 0ull, near ? "" : RNG_PICK(r, values));
    if (c->server == SERVER_OPEN && !c->in_fragments && server_can_send(c, 200, IN_RESERVE / 2)) {
        trace(TRACE_FAULT, T_WRONG_PONG, strlen(text), 0);
        server_frame(c, 0x81, text, strlen(text));
    }
}

/* A Pong that answers nothing: it must change nothing. */
static void server_wrong_pong(conn *c)
{
    if (has(T_JSON_BEAT) && rng_chance(&sim.streams[T_WRONG_PONG], 50)) {
        server_wrong_answer(c);
        return;
    }
    uint8_t payload[125];
    size_t size = sim.old_pong_size;
    memset(payload, 0, sizeof payload);
    memcpy(payload, sim.old_pong, sizeof sim.old_pong);
    switch (rng_below(&sim.streams[T_WRONG_PONG], 5)) {
    case 0: size = 0; break;
    case 1: size = 125; break;
    case 2: /* of the connection, but of a Ping that was not sent yet */ payload[13] ^= 1; break;
    case 3: /* of another connection, with the number of a Ping that is under way */
        memcpy(payload, c->asked_last, sizeof c->asked_last);
        payload[rng_below(&sim.streams[T_WRONG_PONG], 8)] ^= 1;
        size = sizeof c->asked_last;
        break;
    default: break;
    }
    if (c->server == SERVER_OPEN && server_can_send(c, size + 2, IN_RESERVE / 2)) {
        trace(TRACE_FAULT, T_WRONG_PONG, size, 0);
        server_frame(c, 0x8a, payload, size);
    }
}

/* ---- what the client's frames bring about ---------------------------------------------------- */

static bool server_refuses(conn *c, uint64_t id)
{
    bool poisonous = has(T_POISON_FOREVER) || (has(T_POISON) && !sim.healed);
    if (!poisonous || id != sim.plan.poison || c->server != SERVER_OPEN) {
        return false;
    }
    sim.counts.hits[has(T_POISON_FOREVER) ? T_POISON_FOREVER : T_POISON]++;
    server_begin_close(c, sim.plan.poison_code);
    c->deaf = true;
    return true;
}

static void server_takes_message(conn *c, const out_item *item)
{
    if (c->deaf || server_refuses(c, item->id)) {
        return;
    }
    if (item->id != 0) {
        model_received(c, item->id);
    }
    if (has(T_BY_PROGRAM) && sim.quiet) {
        sim.confirm_us = least(sim.confirm_us, sim.now_us + sim.plan.latency_us);
    }
    if (has(T_REPLY) && !sim.quiet && sim.push_number < REPLIES_MAX
        && rng_chance(&sim.server, 40)) {
        server_push(c);
    }
}

static void server_takes_close(conn *c, const out_item *item)
{
    trace(TRACE_SERVER_HEARS, item->id, c->serial, 0);
    if (c->close_sent) {
        REQUIRE(c->garbage || c->bad || item->id == c->close_code || c->stopped, "close",
                "the server closed with %u, the client answers %llu", c->close_code,
                (unsigned long long)item->id);
        plan_event(sim.now_us + sim.plan.think_us, EV_HANG_UP, c->serial, 0);
        return;
    }
    if (strikes(T_NO_CLOSE)) {
        allow(c, MTWS_ERR_TIMEOUT);
        return;
    }
    server_close(c, (uint16_t)item->id);
    plan_event(sim.now_us + sim.plan.think_us, EV_HANG_UP, c->serial, 0);
}

static void server_takes(conn *c, const out_item *item)
{
    switch (item->kind) {
    case OUT_REQUEST:
        c->server = SERVER_ANSWERING;
        plan_event(sim.now_us + sim.plan.think_us, EV_ANSWER, c->serial, 0);
        break;
    case OUT_MESSAGE: server_takes_message(c, item); break;
    case OUT_PING: server_takes_ping(c, item); break;
    case OUT_BEAT: server_takes_beat(c, item); break;
    case OUT_CLOSE: server_takes_close(c, item); break;
    default: break;
    }
}

/* Whether the server takes its time. */
static bool server_is_slow(void)
{
    return has(T_SLOW_FOREVER) || (has(T_SLOW_SERVER) && !sim.healed);
}

/* Works on what has arrived. A slow server sets to work on some of it, and is called again when it
 * is done with that. */
static void server_work(conn *c)
{
    while (!c->busy && c->server != SERVER_GONE && c->out.taken < c->out.arrived) {
        const out_item *item = c->items_count > 0 ? &c->items[c->items_head] : NULL;
        uint64_t end = c->out.arrived;
        bool whole = item != NULL && item->end <= end;
        end = whole ? item->end : end;
        if (server_is_slow() && c->busy_size == 0) {
            sim.counts.hits[has(T_SLOW_FOREVER) ? T_SLOW_FOREVER : T_SLOW_SERVER]++;
            c->busy = true;
            c->busy_size = least(end - c->out.taken, 512);
            plan_event(later(sim.now_us, c->busy_size * sim.plan.slow_ns / 1000 + 1), EV_SERVE,
                       c->serial, 0);
            return;
        }
        if (c->busy_size > 0) {
            end = least(end, c->out.taken + c->busy_size);
            whole = whole && item->end <= end;
            c->busy_size = 0;
        }
        c->out.taken = end;
        if (!whole) {
            continue;
        }
        out_item taken = *item;
        c->items_head = (c->items_head + 1) % OUT_ITEMS_MAX;
        c->items_count--;
        server_takes(c, &taken);
    }
}

/* ---- the answer to the upgrade --------------------------------------------------------------- */

static void answer_add(const char *text)
{
    size_t size = strlen(text);
    REQUIRE(sim.answer_size + size < sizeof sim.answer, "simulator", "the answer is too long");
    memcpy(sim.answer + sim.answer_size, text, size);
    sim.answer_size += size;
}

static void answer_upgrade(conn *c, const char *accept)
{
    rng *r = &sim.streams[T_ODD_UPGRADE];
    bool odd = has(T_ODD_UPGRADE);
    const char *offered = sim.plan.options.subprotocols;
    if (odd) {
        for (uint64_t left = rng_below(r, 4); left > 0; left--) {
            answer_add("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n");
        }
    }
    answer_add("HTTP/1.1 101 Switching Protocols\r\n");
    if (odd && rng_chance(r, 50)) {
        answer_add("uPGRADE:\twebSocket  \r\nconnection: keep-alive, UPGRADE,x\r\nX: \r\n");
    } else {
        answer_add("Upgrade: websocket\r\nConnection: Upgrade\r\n");
    }
    for (uint64_t left = odd ? rng_scale(r, 1, 60) : 0; left > 0; left--) {
        answer_add("X-Filler: abcdefgh\r\n");
    }
    c->chosen = "";
    if (offered != NULL && offered[0] != '\0' && rng_chance(&sim.server, 50)) {
        c->chosen = offered[0] == 'a' ? "b" : "chat";
        answer_add("Sec-WebSocket-Protocol: ");
        answer_add(c->chosen);
        answer_add("\r\n");
    }
    answer_add("Sec-WebSocket-Accept: ");
    answer_add(accept);
    answer_add("\r\n\r\n");
}

/* Answers that no WebSocket server gives. */
static void answer_badly(conn *c, const char *accept)
{
    rng *r = &sim.streams[T_BAD_UPGRADE];
    char good[200];
    snprintf(good, sizeof good,
             "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n",
             accept);
    uint64_t kind = rng_below(r, 15);
    bool big = kind == 6 || kind == 7;
    allow(c, big ? MTWS_ERR_TOO_BIG : MTWS_ERR_HANDSHAKE);
    static const char *const texts[15] = {
        "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Yes\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\x15\x03\x01\x02\x02\x46",
        "HTTP/1.0 101 Yes\r\nUpgrade: websocket\r\n\r\n",
        NULL,
        NULL,
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        "Sec-WebSocket-Protocol: not-offered\r\n\r\n",
        " folded\r\n\r\n",
        "A: b\n\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "Bad name: x\r\n\r\n",
        "\r\n",
    };
    for (int i = 0; i < 9 && kind == 14; i++) { /* one more than is taken */
        answer_add("HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (kind >= 6) {
        answer_add(good);
    }
    for (int i = 0; i < 300 && big; i++) {
        answer_add(kind == 6 ? "X-Long: 0123456789012345678901234567890123456789\r\n" : "A: b\r\n");
    }
    if (texts[kind] != NULL) {
        answer_add(texts[kind]);
    }
}

/* The date of Retry-After, so many seconds from now by the wall clock. */
static void answer_date(char *out, size_t size, int64_t seconds)
{
    time_t date = (time_t)(wall_clock_ms() / 1000 + seconds);
    struct tm parts;
    strftime(out, size, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&date, &parts));
}

/* Retry-After, and the delays that may come of it. */
static void answer_retry_after(conn *c, uint16_t status)
{
    rng *r = &sim.streams[T_STATUS];
    char line[80], value[40];
    uint64_t seconds = rng_scale(r, 1, 60);
    bool date = false;
    snprintf(value, sizeof value, "%llu", (unsigned long long)seconds);
    switch (rng_below(r, 8)) {
    case 0:
        snprintf(value, sizeof value, "soon");
        seconds = 0;
        break;
    case 1:
        snprintf(value, sizeof value, "99999999999999999999");
        seconds = 3600;
        break;
    case 2:
        snprintf(value, sizeof value, "-5");
        seconds = 0;
        break;
    case 3:
        answer_date(value, sizeof value, -100);
        seconds = 0;
        date = true;
        break;
    case 4:
        answer_date(value, sizeof value, (int64_t)seconds);
        date = true;
        break;
    default: break;
    }
    snprintf(line, sizeof line, "Retry-After: %s\r\n", value);
    answer_add(line);
    if (status == 429 || status == 503) {
        /* By the time it is read a date is nearer, or far away by a clock that has jumped. */
        c->retry_after = true;
        c->retry_low_ms = date ? 0 : seconds * 1000;
        c->retry_high_ms = date && has(T_WALL_JUMP) ? 3960000 : seconds * 1100;
        c->retry_date_ms =
            date && !has(T_WALL_JUMP) ? wall_clock_ms() + (int64_t)seconds * 1000 : 0;
    }
}

static void answer_refuse(conn *c)
{
    static const uint16_t statuses[] = {200, 301, 302, 400, 401, 403, 404, 408, 410, 425,
                                        426, 429, 429, 429, 500, 502, 503, 503, 503, 504};
    rng *r = &sim.streams[T_STATUS];
    char line[160];
    uint16_t status = RNG_PICK(r, statuses);
    snprintf(line, sizeof line, "HTTP/1.1 %u %s\r\n", status,
             has(T_ECHO_SECRETS) ? sim.attempt_authorization : "No");
    answer_add(line);
    if (rng_chance(r, 50)) {
        answer_retry_after(c, status);
    }
    answer_add("Content-Length: 2\r\n\r\nno");
    c->http_status = status;
    allow(c, MTWS_ERR_HTTP_STATUS);
}

static void server_answered(conn *c)
{
    c->server = SERVER_OPEN;
    server_mark(c, IN_OPENED, 0);
    if (has(T_PUSH) && rng_chance(&sim.server, 30)) {
        server_push(c); /* in the same read as the answer, perhaps */
    }
}

enum { ANSWER_YES, ANSWER_BAD, ANSWER_REFUSE, ANSWER_NOTHING };

static void server_answer(conn *c)
{
    char key[256], accept[29];
    if (c->serial != sim.serial || c->server != SERVER_ANSWERING) {
        return; /* nobody would read it */
    }
    sim.answer_size = 0;
    c->plan = strikes(T_NO_UPGRADE)    ? ANSWER_NOTHING
              : strikes(T_STATUS)      ? ANSWER_REFUSE
              : strikes(T_BAD_UPGRADE) ? ANSWER_BAD
                                       : ANSWER_YES;
    wire_accept(request_header("Sec-WebSocket-Key", key), accept);
    if (c->plan == ANSWER_NOTHING) {
        allow(c, MTWS_ERR_TIMEOUT);
    } else if (c->plan == ANSWER_REFUSE) {
        answer_refuse(c);
    } else if (c->plan == ANSWER_BAD) {
        answer_badly(c, accept);
    } else {
        answer_upgrade(c, accept);
    }
    trace(TRACE_SERVER_ANSWER, c->serial, (uint64_t)c->plan, c->http_status);
    if (sim.answer_size > 0 && strikes(T_SLOW_UPGRADE)) {
        allow(c, MTWS_ERR_TIMEOUT);
        c->drip_at = 0;
        c->drip_us = rng_scale(&sim.streams[T_SLOW_UPGRADE], 100, 2000000);
        plan_event(sim.now_us, EV_DRIP, c->serial, 0);
        return;
    }
    server_send(c, sim.answer, sim.answer_size);
    if (c->plan == ANSWER_YES) {
        server_answered(c);
    }
}

static void server_drip(conn *c)
{
    if (c->serial != sim.serial || c->server != SERVER_ANSWERING || c->drip_at >= sim.answer_size) {
        return;
    }
    size_t size = sim.healed ? sim.answer_size - c->drip_at : 1;
    server_send(c, sim.answer + c->drip_at, size);
    c->drip_at += size;
    if (c->drip_at < sim.answer_size) {
        plan_event(sim.now_us + c->drip_us, EV_DRIP, c->serial, 0);
    } else if (c->plan == ANSWER_YES) {
        server_answered(c);
    }
}

/* ---- what a server should not do ------------------------------------------------------------- */

/* Bytes that break the protocol, whatever was before. */
static size_t hostile_bytes(const conn *c, uint64_t act, uint8_t *out)
{
    static const struct {
        uint8_t size, bytes[14];
    } list[] = {
        {6, {0x81, 0x80, 1, 2, 3, 4}}, /* masked */
        {2, {0xc1, 0}},
        {2, {0xa2, 0}},
        {2, {0x99, 0}}, /* reserved bits */
        {2, {0x83, 0}},
        {2, {0x0f, 0}},
        {3, {0x8b, 1, 0}}, /* reserved opcodes */
        {4, {0x89, 126, 0, 126}},
        {2, {0x09, 0}},
        {2, {0x08, 0}},           /* control frames */
        {4, {0x82, 126, 0, 125}}, /* not the shortest form */
        {10, {0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}},
        {10, {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}}, /* the 63-bit rule */
        {3, {0x88, 1, 3}},
        {4, {0x88, 2, 3, 0xed}},
        {4, {0x88, 2, 0, 0}},
        {4, {0x88, 2, 0xff, 0xff}},
    };
    size_t count = sizeof list / sizeof list[0];
    if (act == count) { /* a continuation of nothing, a message within a message */
        out[0] = c->in_fragments ? 0x81 : 0x80;
        out[1] = 0;
        return 2;
    }
    memcpy(out, list[act].bytes, list[act].size);
    return list[act].size;
}

enum {
    HOSTILE_FORMS = 18,
    HOSTILE_UTF8 = 18,
    HOSTILE_BIG,
    HOSTILE_CLOSE,
    HOSTILE_MIXED,
    HOSTILE_ACTS
};

static void server_too_big(conn *c)
{
    uint8_t header[10];
    size_t limit = sim.plan.options.max_message_size;
    uint64_t size = rng_chance(&sim.server, 30) ? (uint64_t)1 << 62 : (uint64_t)limit + 1;
    size_t head = server_header(header, 0x82, size);
    if (has(T_STREAM)) {
        return; /* there is no such thing */
    }
    if (limit > 1 && limit < 4000 && rng_chance(&sim.server, 50)) { /* fragments that add up */
        static uint8_t filler[4096];
        size_t part = (size_t)rng_between(&sim.server, 1, limit);
        server_frame(c, 0x02, filler, part);
        server_expect(c, MTWS_BINARY, 1u << 20, 0, true);
        head = server_header(header, 0x80, limit - part + 1);
    }
    server_send(c, header, head);
    allow(c, MTWS_ERR_TOO_BIG);
    server_bad(c);
}

static void server_hostile(conn *c)
{
    rng *r = &sim.streams[T_HOSTILE];
    uint8_t bytes[16];
    uint64_t act = rng_below(r, HOSTILE_ACTS);
    if (c->server != SERVER_OPEN || !server_can_send(c, 4096, IN_RESERVE)) {
        return;
    }
    trace(TRACE_SERVER_HOSTILE, act, c->serial, c->in.sent);
    if (act < HOSTILE_FORMS) {
        size_t size = hostile_bytes(c, act, bytes);
        server_send(c, bytes, size);
        allow(c, MTWS_ERR_PROTOCOL);
        server_bad(c);
    } else if (act == HOSTILE_UTF8) {
        size_t size = (size_t)rng_scale(r, 1, sim.plan.push_max);
        uint64_t place = rng_below(r, size);
        server_message(c, MTWS_TEXT, size, rng_chance(r, 40) ? size - 1 : place);
    } else if (act == HOSTILE_BIG) {
        server_too_big(c);
    } else if (act == HOSTILE_CLOSE) { /* a reason that is not UTF-8 */
        static const uint8_t body[] = {3, 0xe8, 'a', 0xc0, 0x80};
        server_frame(c, 0x88, body, sizeof body);
        allow(c, MTWS_ERR_UTF8);
        server_bad(c);
    } else { /* a message that begins and never ends; the next one is within it */
        static const uint8_t text[] = {0x01, 2, 'h', 'i', 0x81, 0};
        server_send(c, text, sizeof text);
        server_expect(c, MTWS_TEXT, 1u << 20, 0, true);
        allow(c, MTWS_ERR_PROTOCOL);
        server_bad(c);
    }
}

static void server_garbage(conn *c)
{
    uint8_t bytes[64];
    if (c->server == SERVER_GONE || c->server == SERVER_REQUEST || !server_can_send(c, 64, 0)) {
        return;
    }
    trace(TRACE_FAULT, T_GARBAGE, c->serial, 0);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)rng_next(&sim.streams[T_GARBAGE]);
    }
    server_send(c, bytes, (size_t)rng_between(&sim.streams[T_GARBAGE], 1, sizeof bytes));
    c->garbage = c->bad = c->answer_unsure = true;
    sim.garbage = true;
    c->allowed = UINT32_MAX;
    c->dead_us = NEVER;
    c->silent = true;
}

static void server_flood(conn *c)
{
    rng *r = &sim.streams[T_FLOOD];
    uint64_t count = rng_scale(r, 4, 10000);
    if (c->server != SERVER_OPEN || !server_can_send(c, (size_t)count * 4 + 65536, IN_RESERVE)) {
        return;
    }
    trace(TRACE_FAULT, T_FLOOD, count, 0);
    if (rng_chance(r, 50)) {
        for (uint64_t i = 0; i < count / 3; i++) {
            server_ping(c);
        }
        return;
    }
    if (c->bad || sim.push_count == IN_ITEMS_MAX) {
        return;
    }
    uint32_t number = ++sim.push_number;
    uint8_t kind = rng_chance(r, 50) ? MTWS_TEXT : MTWS_BINARY;
    for (uint64_t i = 0; i < count; i++) {
        server_frame(c, i == 0 ? kind : 0u, NULL, 0);
    }
    server_frame(c, 0x80, NULL, 0);
    server_expect(c, kind, 0, number, false);
}

#endif
