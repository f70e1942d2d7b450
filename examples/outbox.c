/* outbox: sentences that survive the end of the program, and of the machine, too.
 *
 *     cc -O2 -o outbox outbox.c
 *     ./outbox outbox.txt ws://127.0.0.1:9001/
 *
 * Each line of standard input is on the disk before it is sent, and stays there until the server
 * has it. Whenever this is killed, started again it sends what is left. The header's queue lives in
 * memory and cannot do that. What was delivered and could not be struck out any more comes twice,
 * so each sentence goes out with its number, by which the server can recognise it.
 *
 * The file has a line "+NUMBER SENTENCE" for each sentence, and a line "-NUMBER" where all up to
 * that one are settled. Exit status: 0 nothing is left, 1 something is, 2 usage.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_SIZE = 4000 };

typedef struct sentence {
    unsigned long long number;
    uint64_t id; /* of mtws_send; 0: not sent yet */
    char *text;  /* "NUMBER SENTENCE" */
} sentence;

typedef struct outbox {
    mtws_client *ws;
    const char *path;
    FILE *file;
    sentence *waiting; /* from `first` to `end`; those before `unsent` are with mtws.h */
    size_t first, unsent, end, capacity;
    unsigned long long last_number;
    char input[LINE_MAX_SIZE + 1];
    size_t input_size;
    bool input_ended, closing;
} outbox;

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* The file's lines; with `sync` they are on the disk when this returns. */
static void flush(outbox *o, bool sync) {
    if (fflush(o->file) != 0 || (sync && fsync(fileno(o->file)) != 0)) die(o->path);
}

/* So that the machine finds the new file, and not the old one, under that name. */
static void sync_folder(const char *path) {
    char folder[4096] = ".";
    const char *end = strrchr(path, '/');
    if (end) snprintf(folder, sizeof folder, "%.*s", (int)(end - path) + 1, path);
    int fd = open(folder, O_RDONLY);
    if (fd < 0 || fsync(fd) != 0) die(folder);
    close(fd);
}

static sentence *add(outbox *o, unsigned long long number, const char *text) {
    if (o->end == o->capacity) {
        o->capacity = o->capacity * 2 + 16;
        o->waiting = realloc(o->waiting, o->capacity * sizeof *o->waiting);
        if (!o->waiting) die("outbox");
    }
    size_t size = strlen(text) + 32;
    sentence *s = &o->waiting[o->end++];
    s->number = o->last_number = number;
    s->id = 0;
    s->text = malloc(size);
    if (!s->text) die("outbox");
    snprintf(s->text, size, "%llu %s", number, text);
    return s;
}

static void settle(outbox *o, unsigned long long number) {
    while (o->first < o->end && o->waiting[o->first].number <= number) {
        free(o->waiting[o->first++].text);
    }
    if (o->unsent < o->first) o->unsent = o->first;
    if (o->last_number < number) o->last_number = number;
}

/* Reads what an earlier run has left, and writes a file of that alone. A last line without its end
 * was being written when that run was killed, and had not been sent. */
static void load(outbox *o) {
    char line[LINE_MAX_SIZE + 40], fresh[4096];
    FILE *old = fopen(o->path, "r");
    if (!old && errno != ENOENT) die(o->path);
    while (old && fgets(line, sizeof line, old) && strchr(line, '\n')) {
        char *text;
        unsigned long long number = strtoull(line + 1, &text, 10);
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '-') settle(o, number);
        else if (line[0] == '+' && *text == ' ') add(o, number, text + 1);
    }
    if (old && (ferror(old) || !feof(old))) { /* what can't be read is not thrown away */
        fprintf(stderr, "%s: it cannot be read, or is no outbox\n", o->path);
        exit(1);
    }
    if (old) fclose(old);
    if (snprintf(fresh, sizeof fresh, "%s.new", o->path) >= (int)sizeof fresh) die(o->path);
    o->file = fopen(fresh, "w");
    if (!o->file) die(fresh);
    unsigned long long settled = o->first < o->end ? o->waiting[o->first].number - 1
                                                   : o->last_number;
    fprintf(o->file, "-%llu\n", settled); /* so that numbers go on, whatever is left */
    for (size_t i = o->first; i < o->end; i++) fprintf(o->file, "+%s\n", o->waiting[i].text);
    flush(o, true);
    if (rename(fresh, o->path) != 0) die(o->path);
    sync_folder(o->path);
}

/* Hands over to mtws.h what it has room for; the rest follows with MTWS_EVENT_WRITABLE. */
static void send_waiting(outbox *o) {
    for (; o->unsent < o->end; o->unsent++) {
        sentence *s = &o->waiting[o->unsent];
        mtws_result result = mtws_send(o->ws, MTWS_TEXT, s->text, strlen(s->text), 0, &s->id);
        if (result == MTWS_ERR_QUEUE_FULL) return;
        if (result == MTWS_OK) continue;
        fprintf(stderr, "%s: %s: %s\n", o->path, s->text, mtws_result_text(result));
        exit(1); /* somebody has changed the file */
    }
}

/* A line that was typed. mtws_send does no I/O: before anything leaves, it is on the disk. */
static void take(outbox *o, const char *text) {
    sentence *s = add(o, o->last_number + 1, text);
    mtws_result result = mtws_send(o->ws, MTWS_TEXT, s->text, strlen(s->text), 0, &s->id);
    if (result != MTWS_OK && result != MTWS_ERR_QUEUE_FULL) { /* it is not UTF-8 */
        printf("refused %s: %s\n", text, mtws_result_text(result));
        free(s->text);
        o->end--;
        o->last_number--;
        return;
    }
    if (result == MTWS_OK) o->unsent++;
    fprintf(o->file, "+%s\n", s->text);
    flush(o, true);
}

static void read_input(outbox *o) {
    ssize_t got = read(0, o->input + o->input_size, LINE_MAX_SIZE - o->input_size);
    if (got > 0) o->input_size += (size_t)got;
    if (got == 0 || (got < 0 && errno != EINTR)) o->input_ended = true;
}

/* Lines are taken while the queue has room. */
static void take_input(outbox *o) {
    while (o->unsent == o->end) {
        char *end = memchr(o->input, '\n', o->input_size);
        size_t size = end ? (size_t)(end - o->input) : o->input_size;
        bool whole = end || o->input_size == LINE_MAX_SIZE || (o->input_ended && size > 0);
        if (!whole) return;
        o->input[size] = '\0'; /* a line that is too long becomes two */
        take(o, o->input);
        o->input_size -= size + (end != NULL);
        memmove(o->input, o->input + size + (end != NULL), o->input_size);
    }
}

/* Ids and numbers ascend together, since all goes through one queue. A sentence that was dropped
 * (the server closed at it, three times) is told, and kept no longer. */
static void on_settled(outbox *o, const mtws_event *e) {
    size_t i = o->first;
    for (; i < o->unsent && o->waiting[i].id <= e->id; i++) {
        bool delivered = e->type == MTWS_EVENT_DELIVERED;
        printf("%s %s\n", delivered ? "delivered" : "DROPPED", o->waiting[i].text);
    }
    if (i == o->first) return;
    fprintf(o->file, "-%llu\n", o->waiting[i - 1].number);
    flush(o, false); /* should the machine lose this line, it is delivered twice */
    settle(o, o->waiting[i - 1].number);
}

/* Takes all events; false: the client has come to its end. */
static bool pump(outbox *o) {
    mtws_event e;
    int got;
    while ((got = mtws_poll(o->ws, &e, 0)) == 1) {
        if (e.type == MTWS_EVENT_STATE) printf("%s %s\n", mtws_state_name(e.state), e.reason);
        if (e.type == MTWS_EVENT_MESSAGE) printf("received %s\n", (const char *)e.data);
        if (e.type == MTWS_EVENT_DELIVERED || e.type == MTWS_EVENT_DROPPED) on_settled(o, &e);
        if (e.type == MTWS_EVENT_WRITABLE) send_waiting(o);
    }
    take_input(o);
    if (o->input_ended && o->input_size == 0 && o->first == o->end && !o->closing) {
        o->closing = true;
        mtws_disconnect(o->ws, 1000, NULL);
        return pump(o);
    }
    fflush(stdout);
    return got >= 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: outbox FILE URL\n");
        return 2;
    }
    static outbox o;
    o.path = argv[1];
    load(&o);
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED};
    mtws_result result = mtws_create(&o.ws, &options);
    if (result == MTWS_OK) result = mtws_connect(o.ws, argv[2], NULL);
    if (result != MTWS_OK) {
        fprintf(stderr, "%s: %s\n", argv[2], mtws_result_text(result));
        mtws_destroy(o.ws);
        return 2;
    }
    send_waiting(&o);
    while (pump(&o)) {
        struct pollfd fds[MTWS_WAIT_MAX + 1];
        mtws_wait wait;
        bool reads = !o.input_ended && o.unsent == o.end;
        fds[0].fd = reads ? 0 : -1;
        fds[0].events = POLLIN;
        mtws_get_wait(o.ws, &wait);
        for (int i = 0; i < wait.count; i++) {
            bool idle = !wait.fds[i].want_read && !wait.fds[i].want_write;
            fds[i + 1].fd = idle ? -1 : wait.fds[i].fd;
            fds[i + 1].events = (short)((wait.fds[i].want_read ? POLLIN : 0) |
                                        (wait.fds[i].want_write ? POLLOUT : 0));
        }
        if (poll(fds, (nfds_t)wait.count + 1, wait.timeout_ms) > 0 && fds[0].revents != 0) {
            read_input(&o);
        }
    }
    mtws_destroy(o.ws);
    printf("%zu left in %s\n", o.end - o.first, o.path);
    int status = o.first < o.end;
    while (o.first < o.end) free(o.waiting[o.first++].text);
    free(o.waiting);
    fclose(o.file);
    return status;
}
