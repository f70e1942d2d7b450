/* Reads what the client writes, strictly: the upgrade request, then frames. It looks at the bytes
 * as they are given to the transport; how many of them reach the server is the network's affair, so
 * each thing found becomes an item with the offset behind it.
 */
#ifndef MTWS_SIM_TAP_H_INCLUDED
#define MTWS_SIM_TAP_H_INCLUDED

static void tap_item(conn *c, uint32_t kind, uint64_t end, uint64_t id, const uint8_t *data,
                     size_t size)
{
    REQUIRE(c->items_count < OUT_ITEMS_MAX, "simulator", "too many frames under way");
    out_item *item = &c->items[(c->items_head + c->items_count++) % OUT_ITEMS_MAX];
    item->end = end;
    item->id = id;
    item->kind = kind;
    item->size = (uint32_t)size;
    if (size > 0) {
        memcpy(item->data, data, size < sizeof item->data ? size : sizeof item->data);
    }
}

/* ---- the request ----------------------------------------------------------------------------- */

/* The value of a header of the request, which must stand there once; NULL where it is absent. */
static const char *request_header(const char *name, char out[256])
{
    size_t size = strlen(name);
    bool found = false;
    for (const char *line = strstr(sim.request, "\r\n"); line != NULL;
         line = strstr(line, "\r\n")) {
        line += 2;
        if (strncmp(line, name, size) != 0 || line[size] != ':') {
            continue;
        }
        REQUIRE(!found, "request", "%s stands twice", name);
        found = true;
        size_t value = strcspn(line + size + 2, "\r");
        REQUIRE(value < 256, "request", "%s is too long", name);
        memcpy(out, line + size + 2, value);
        out[value] = '\0';
    }
    return found ? out : NULL;
}

static void request_must(const char *name, const char *value)
{
    char found[256];
    const char *got = request_header(name, found);
    REQUIRE(got != NULL && strcmp(got, value) == 0, "request", "%s is \"%s\", expected \"%s\"",
            name, got == NULL ? "absent" : got, value);
}

static void tap_check_request(void)
{
    char line[600], value[256];
    snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", sim.attempt_target);
    REQUIRE(strncmp(sim.request, line, strlen(line)) == 0, "request", "the request is \"%.80s\"",
            sim.request);
    request_must("Host", sim.attempt_host);
    request_must("Upgrade", "websocket");
    request_must("Connection", "Upgrade");
    request_must("Sec-WebSocket-Version", "13");
    request_must("Authorization", sim.attempt_authorization);
    const char *offered = sim.plan.options.subprotocols;
    if (offered != NULL && offered[0] != '\0') {
        request_must("Sec-WebSocket-Protocol", offered);
    }
    const char *key = request_header("Sec-WebSocket-Key", value);
    REQUIRE(key != NULL && wire_is_key(key, strlen(key)), "request", "Sec-WebSocket-Key is no key");
    for (uint32_t i = 0; i < sim.keys_count && i < KEYS_MAX; i++) {
        REQUIRE(strcmp(sim.keys[i], key) != 0, "key", "a Sec-WebSocket-Key is used again");
    }
    memcpy(sim.keys[sim.keys_count++ % KEYS_MAX], key, 25);
}

/* Takes bytes of the request; the rest is frames. */
static size_t tap_request(conn *c, const uint8_t *data, size_t size, uint64_t at)
{
    tap *t = &c->tap;
    for (size_t i = 0; i < size; i++) {
        REQUIRE(t->request_size < sizeof sim.request - 1, "request", "a request of over %zu bytes",
                t->request_size);
        sim.request[t->request_size++] = (char)data[i];
        sim.request[t->request_size] = '\0';
        if (t->request_size >= 4 && memcmp(sim.request + t->request_size - 4, "\r\n\r\n", 4) == 0) {
            tap_check_request();
            trace(TRACE_TAP_REQUEST, c->serial, 0, 0);
            t->upgraded = true;
            tap_item(c, OUT_REQUEST, at + i + 1, 0, NULL, 0);
            return i + 1;
        }
    }
    return size;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* How long a frame's header is, once its second byte is known. */
static size_t tap_head_size(const tap *t)
{
    unsigned length = t->head[1] & 127u;
    return 2 + (length == 127 ? 8u : length == 126 ? 2u : 0u) + 4;
}

static void tap_check_size(const tap *t)
{
    unsigned length = t->head[1] & 127u;
    bool control = t->opcode >= 8;
    REQUIRE((length != 126 || t->size > 125) && (length != 127 || t->size > 65535), "frame",
            "a length of %llu not in its shortest form", (unsigned long long)t->size);
    REQUIRE(!control || (t->final && t->size <= 125), "frame", "a control frame of %llu bytes",
            (unsigned long long)t->size);
    REQUIRE(control || t->size <= max_frame() || has(T_JSON_BEAT), "frame",
            "a frame of %llu bytes, beyond max_frame_size", (unsigned long long)t->size);
}

/* The header is whole. */
static void tap_header(conn *c, uint64_t at)
{
    tap *t = &c->tap;
    size_t head = tap_head_size(t);
    t->opcode = t->head[0] & 15;
    t->final = (t->head[0] & 0x80) != 0;
    REQUIRE((t->head[0] & 0x70) == 0, "frame", "reserved bits are set");
    REQUIRE((t->head[1] & 0x80) != 0, "frame", "a frame without a mask");
    REQUIRE(t->opcode <= 2 || (t->opcode >= 8 && t->opcode <= 10), "frame", "opcode %d", t->opcode);
    REQUIRE(!t->closed, "behind Close", "a frame behind Close, opcode %d", t->opcode);
    t->size = t->head[1] & 127u;
    for (size_t i = 2; head > 6 && i < head - 4; i++) {
        t->size = (i == 2 ? 0 : t->size << 8) | t->head[i];
    }
    tap_check_size(t);
    uint8_t old[4];
    memcpy(old, t->key, 4);
    memcpy(t->key, t->head + head - 4, 4);
    sim.suspects += memcmp(old, t->key, 4) == 0;
    REQUIRE(sim.suspects < 2, "masking key", "masking keys repeat");
    t->done = 0;
    t->in_payload = true;
    if (t->opcode >= 8) {
        return;
    }
    REQUIRE((t->opcode == 0) == t->in_message, "frame", "opcode %d, %s a message", t->opcode,
            t->in_message ? "within" : "outside");
    if (!t->in_message) {
        t->in_message = true;
        t->kind = t->opcode;
        t->message_size = 0;
        t->id = 0;
        t->beat = false;
        t->begun = at;
        memcpy(t->message_key, t->key, 4);
    }
}

/* Unmasked bytes of a message. */
static void tap_data(conn *c, const uint8_t *data, size_t size)
{
    tap *t = &c->tap;
    uint64_t at = t->message_size;
    for (size_t i = 0; i < size && at + i < NAME_SIZE; i++) {
        t->name[at + i] = data[i];
    }
    if (has(T_JSON_BEAT) && at + size < sizeof t->beat_text) {
        memcpy(t->beat_text + at, data, size);
    }
    t->message_size += size;
    if (t->id == 0 && !t->beat && t->message_size >= NAME_SIZE) {
        t->beat =
            has(T_JSON_BEAT) && t->kind == MTWS_TEXT && memcmp(t->name, "{\"ty", NAME_SIZE) == 0;
        if (!t->beat) {
            t->id = content_id(t->name);
            model_begun(c, t->id);
        }
    }
    if (t->id != 0) {
        const message *m = message_of(t->id);
        REQUIRE(t->message_size <= m->size, "size",
                "message %llu has %u bytes, and %llu are written", (unsigned long long)t->id,
                m->size, (unsigned long long)t->message_size);
        REQUIRE(content_same(data, t->id, m->kind, m->size, at, size), "content",
                "message %llu is written wrong, at bytes %llu to %llu of %u",
                (unsigned long long)t->id, (unsigned long long)at,
                (unsigned long long)t->message_size, m->size);
    }
}

/* A heartbeat in JSON, or the answer to one. */
static void tap_beat(conn *c, uint64_t end)
{
    tap *t = &c->tap;
    unsigned long long stamp = 0, original = 0;
    char expected[256];
    REQUIRE(t->message_size < sizeof t->beat_text, "beat", "a heartbeat of %llu bytes",
            (unsigned long long)t->message_size);
    t->beat_text[t->message_size] = '\0';
    if (sscanf(t->beat_text, "{\"type\":\"heartbeat\",\"timestamp\":%llu", &stamp) == 1) {
        snprintf(expected, sizeof expected, "{\"type\":\"heartbeat\",\"timestamp\":%llu}", stamp);
        REQUIRE(stamp > t->last_beat, "beat", "timestamp %llu after %llu", stamp,
                (unsigned long long)t->last_beat);
        REQUIRE(heartbeats(), "beat", "a heartbeat, and they are off");
        t->last_beat = stamp;
        tap_item(c, OUT_BEAT, end, stamp, NULL, 0);
    } else {
        sscanf(t->beat_text,
               "{\"type\":\"heartbeat_response\",\"timestamp\":%llu,\"originalTimestamp\":%llu",
               &stamp, &original);
        snprintf(expected, sizeof expected,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":%llu,\"originalTimestamp\":%llu}",
                 stamp, original);
        REQUIRE(c->garbage || (original > t->last_answer && original <= c->beats), "beat",
                "an answer to heartbeat %llu, after one to %llu, of %llu", original,
                (unsigned long long)t->last_answer, (unsigned long long)c->beats);
        t->last_answer = original;
    }
    REQUIRE(strcmp(t->beat_text, expected) == 0, "beat", "a heartbeat: %s", t->beat_text);
}

static void tap_pong(conn *c)
{
    tap *t = &c->tap;
    uint32_t counter = 0;
    REQUIRE(t->size >= 4, "pong", "a Pong of %llu bytes", (unsigned long long)t->size);
    memcpy(&counter, t->control, 4);
    REQUIRE(counter > t->last_ping && counter <= c->pings, "pong",
            "a Pong to Ping %u, after one to %u, of %u", counter, t->last_ping, c->pings);
    t->last_ping = counter;
    for (size_t i = 4; i < t->size; i++) {
        REQUIRE(t->control[i] == (uint8_t)(counter * 7 + i), "pong", "a Pong with another payload");
    }
}

/* Four Pings of a heartbeat may be under way. Where the Pongs judge nobody, another may take the
 * oldest one's place, more and more rarely: a peer that does not answer is not to be flooded. */
static void tap_ping(conn *c, uint64_t end)
{
    const tap *t = &c->tap;
    bool beat = memcmp(t->control, sim.ws->connection.beat.nonce, 8) == 0;
    uint32_t same = 0, oldest = 0;
    uint64_t latest_us = 0;
    REQUIRE(t->size <= 16, "ping", "a Ping of %llu bytes", (unsigned long long)t->size);
    REQUIRE(heartbeats() || sim.plan.options.confirm == MTWS_CONFIRM_PONG, "ping",
            "a Ping, and nothing to ask");
    for (uint32_t i = c->asked_count; i-- > 0;) {
        if (c->pings_asked[i].beat == beat) {
            same++;
            oldest = i;
            latest_us = most(latest_us, c->pings_asked[i].us);
        }
    }
    if (same == PINGS_MAX) {
        REQUIRE(!pings_judge(beat), "ping", "%u Pings are under way", same + 1);
        uint64_t gap_us = timeout_us() << least(c->asked_again, 6);
        REQUIRE(sim.now_us >= latest_us + gap_us, "ping",
                "one Ping more, %llu us after the last, with %u under way, %u beyond them",
                (unsigned long long)(sim.now_us - latest_us), same, c->asked_again);
        c->asked_again++;
        c->asked_count--;
        memmove(c->pings_asked + oldest, c->pings_asked + oldest + 1,
                (c->asked_count - oldest) * sizeof c->pings_asked[0]);
    }
    asked *ping = &c->pings_asked[c->asked_count++];
    ping->end = end;
    ping->us = sim.now_us;
    ping->beat = beat;
    ping->covers = c->sure_end;
    memcpy(c->asked_last, t->control, sizeof c->asked_last);
    if (has(T_SLEEP) && !sim.healed && rng_chance(&sim.streams[T_SLEEP], 5)) {
        plan_event(sim.now_us + 1, EV_NAP, 0, 0); /* before it is answered */
    }
}

static void tap_control(conn *c, uint64_t end)
{
    tap *t = &c->tap;
    size_t size = (size_t)t->size;
    uint64_t code = 1005;
    trace(TRACE_TAP_CONTROL, t->opcode, size, end);
    if (t->opcode == 8) {
        REQUIRE(size != 1, "close", "a Close with a body of one byte");
        if (size >= 2) {
            code = (uint64_t)t->control[0] << 8 | t->control[1];
        }
        t->closed = true;
        tap_item(c, OUT_CLOSE, end, code, NULL, 0);
    } else if (t->opcode == 9) {
        tap_ping(c, end);
        tap_item(c, OUT_PING, end, 0, t->control, size);
    } else {
        if (!c->garbage) {
            tap_pong(c);
        }
        tap_item(c, OUT_PONG, end, 0, NULL, 0);
    }
}

static void tap_frame_end(conn *c, uint64_t end)
{
    tap *t = &c->tap;
    t->in_payload = false;
    t->head_size = 0;
    if (t->opcode >= 8) {
        tap_control(c, end);
        return;
    }
    if (!t->final) {
        return;
    }
    t->in_message = false;
    if (t->beat) {
        tap_beat(c, end);
        return;
    }
    sim.messages_out++;
    if (t->id != 0) {
        model_left(c, t->id, end);
    } else {
        REQUIRE(has(T_NAMELESS) || has(T_PARTS), "size", "a message of %llu bytes",
                (unsigned long long)t->message_size);
    }
    tap_item(c, OUT_MESSAGE, end, t->id, NULL, 0);
}

/* Takes payload bytes; how many. */
static size_t tap_payload(conn *c, const uint8_t *data, size_t size)
{
    tap *t = &c->tap;
    uint8_t plain[512];
    size_t part = (size_t)least(size, t->size - t->done);
    part = part < sizeof plain ? part : sizeof plain;
    for (size_t i = 0; i < part; i++) {
        plain[i] = data[i] ^ t->key[(t->done + i) & 3];
    }
    if (t->opcode >= 8) {
        memcpy(t->control + t->done, plain, part);
    } else {
        tap_data(c, plain, part);
    }
    t->done += part;
    return part;
}

/* The transport took these bytes, which begin at offset `at`. */
static void tap_feed(conn *c, const uint8_t *data, size_t size, uint64_t at)
{
    tap *t = &c->tap;
    size_t i = 0;
    if (!t->upgraded) {
        i = tap_request(c, data, size, at);
        REQUIRE(i == size, "request", "bytes behind the request, before it was answered");
        return;
    }
    REQUIRE(i == size || c->opened_read, "request", "frames before the upgrade was answered");
    while (i < size) {
        if (!t->in_payload) {
            if (t->head_size == 0 && !t->in_message) {
                t->begun_us = sim.now_us;
                t->begun_progress = sim.progress;
                t->begun = at + i;
            }
            t->head[t->head_size++] = data[i++];
            if (t->head_size < 2 || t->head_size < tap_head_size(t)) {
                continue;
            }
            tap_header(c, t->begun);
        }
        i += tap_payload(c, data + i, size - i);
        if (t->done == t->size) {
            tap_frame_end(c, at + i);
        }
    }
}

#endif
