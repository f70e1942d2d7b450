/* demo: a server that dies, hangs, cuts and refuses, and a client that loses nothing.
 *
 *     make demo
 *
 * Starts ./chaos_server (or the program that the first argument names), sends it a numbered message
 * every 50 ms, and meanwhile kills, stops and restarts it. In the end the server's own ledger, in
 * which it writes what arrives, is compared with what the client says it has delivered. Takes about
 * 15 seconds; the exit status is 1 if a message was lost or came out of order.
 */
#define _DEFAULT_SOURCE
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEND_EVERY_MS = 50, END_MS = 15000, SETTLE_MS = 10000, WATCHDOG_SECONDS = 40 };
enum { SERVER_START_MS = 5000, MESSAGES_MAX = 1024 };

/* What is done to the server, and when. Each START gives other options to chaos_server. */
typedef enum server_action { START, KILL, STOP, CONTINUE } server_action;
typedef struct step {
    int at_ms;
    server_action action;
    const char *cut_after, *refuse_for; /* NULL: not cutting, not refusing */
    const char *text;
} step;

static const step steps[] = {
    {2000, KILL, NULL, NULL, "dies (kill -9)"},
    {3200, START, NULL, NULL, "is back"},
    {5000, STOP, NULL, NULL, "hangs: connections stay open, nothing is answered"},
    {7500, CONTINUE, NULL, NULL, "goes on"},
    {9000, KILL, NULL, NULL, "dies (kill -9)"},
    {9100, START, "1000", "0.5",
     "is back, but cuts each connection after 1000 bytes,\n"
     "                   and then refuses all for 0.5 s"},
    {13000, KILL, NULL, NULL, "dies (kill -9)"},
    {13100, START, NULL, NULL, "is back, and well"},
};
enum { STEP_COUNT = sizeof steps / sizeof steps[0] };

/* Of each message, as the events told it. */
typedef enum fate { UNSETTLED, DELIVERED, DROPPED } fate;

typedef struct demo {
    const char *server_program;
    mtws_client *ws;
    int server_output; /* kept open: a server without a reader would die of SIGPIPE */
    int port;
    uint64_t start_us;
    uint64_t last_delivery_us, longest_gap_us;
    uint64_t sent; /* ids are 1 to sent, and so are the numbers in the messages */
    uint64_t echoed;
    fate fates[MESSAGES_MAX + 1];
    uint64_t arrivals[MESSAGES_MAX + 1]; /* in the ledger */
    uint64_t out_of_order, unknown;
} demo;

/* What must not outlive this program. Read by a signal handler, so plain and global. */
static volatile sig_atomic_t server_pid;
static char ledger[256];

/* ---- time and text -------------------------------------------------------------------------- */

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int elapsed_ms(const demo *d) { return (int)((now_us() - d->start_us) / 1000); }

static void say(const demo *d, const char *who, const char *what) {
    printf("%7.2f s  %-6s  %s\n", elapsed_ms(d) / 1000.0, who, what);
    fflush(stdout);
}

static bool complain(const char *what, const char *why) {
    fprintf(stderr, "demo: %s: %s\n", what, why);
    return false;
}

/* ---- the server ----------------------------------------------------------------------------- */

/* Async-signal-safe: the watchdog calls it too. */
static void kill_server(void) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    if (server_pid > 0) {
        kill((pid_t)server_pid, SIGKILL);
        waitpid((pid_t)server_pid, NULL, 0);
        server_pid = 0;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void on_signal(int number) {
    static const char timed_out[] = "demo: took too long, ended by its watchdog\n";
    kill_server();
    unlink(ledger);
    if (number == SIGALRM && write(STDERR_FILENO, timed_out, sizeof timed_out - 1) < 0) _exit(1);
    _exit(1);
}

static void catch_signals(void) {
    static const int numbers[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigfillset(&action.sa_mask);
    action.sa_handler = on_signal;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
    alarm(WATCHDOG_SECONDS);
}

/* In the child. It ends by itself should this program be killed. */
static void exec_server(const demo *d, const step *how, int output) {
    char port[16];
    snprintf(port, sizeof port, "%d", d->port);
    const char *arguments[16] = {d->server_program, "-q",   "--port",     port,
                                 "--ledger",        ledger, "--lifetime", "60"};
    size_t count = 8;
    if (how->cut_after) {
        arguments[count++] = "--cut-after";
        arguments[count++] = how->cut_after;
    }
    if (how->refuse_for) {
        arguments[count++] = "--refuse-for";
        arguments[count++] = how->refuse_for;
    }
    if (dup2(output, STDOUT_FILENO) >= 0) execv(d->server_program, (char *const *)arguments);
    fprintf(stderr, "demo: %s: %s\n", d->server_program, strerror(errno));
    _exit(127);
}

/* The server's first line of output ends with its port. */
static bool read_port(demo *d) {
    char line[128];
    size_t size = 0;
    do {
        struct pollfd readable = {d->server_output, POLLIN, 0};
        int ready = poll(&readable, 1, SERVER_START_MS);
        ssize_t got = ready > 0 ? read(d->server_output, line + size, 1) : 0;
        if (got <= 0)
            return complain(d->server_program, ready == 0 ? "said nothing" : "could not start");
    } while (line[size++] != '\n' && size < sizeof line - 1);
    line[size] = '\0';
    const char *colon = strrchr(line, ':');
    if (!colon || sscanf(colon, ":%d", &d->port) != 1 || d->port < 1 || d->port > 65535)
        return complain(d->server_program, "did not name its port");
    return true;
}

static bool start_server(demo *d, const step *how) {
    int ends[2];
    if (d->server_output >= 0) close(d->server_output);
    d->server_output = -1;
    if (pipe(ends) < 0) return complain("pipe", strerror(errno));
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before); /* the handlers must know of every child */
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        close(ends[0]);
        exec_server(d, how, ends[1]);
    }
    server_pid = pid > 0 ? (sig_atomic_t)pid : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    d->server_output = ends[0];
    if (pid < 0) return complain("fork", strerror(errno));
    return read_port(d);
}

static bool take_step(demo *d, const step *s) {
    say(d, "server", s->text);
    switch (s->action) {
    case START: return start_server(d, s);
    case KILL: kill_server(); return true;
    case STOP: return kill((pid_t)server_pid, SIGSTOP) == 0;
    case CONTINUE: return kill((pid_t)server_pid, SIGCONT) == 0;
    }
    return false;
}

/* ---- the client ----------------------------------------------------------------------------- */

static bool start_client(demo *d) {
    mtws_options options = {
        .max_reconnect_attempts = MTWS_UNLIMITED,
        .initial_reconnect_delay_ms = 250,
        .max_reconnect_delay_ms = 1000,
        .connect_timeout_ms = 1000,
        .heartbeat_interval_ms = 1000,
        .heartbeat_timeout_ms = 500,
    };
    char url[64];
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", d->port);
    mtws_result result = mtws_create(&d->ws, &options);
    if (result == MTWS_OK) result = mtws_connect(d->ws, url, NULL);
    return result == MTWS_OK || complain("client", mtws_result_text(result));
}

static bool send_numbered(demo *d) {
    char text[64];
    uint64_t id;
    int size = snprintf(text, sizeof text, "message %llu", (unsigned long long)(d->sent + 1));
    mtws_result result = mtws_send(d->ws, MTWS_TEXT, text, (size_t)size, 0, &id);
    if (result != MTWS_OK) return complain("mtws_send", mtws_result_text(result));
    d->sent++;
    return id == d->sent || complain("mtws_send", "ids do not follow the calls");
}

static void show_state(const demo *d, const mtws_event *change) {
    char text[256];
    const char *name = mtws_state_name(change->state);
    if (change->state == MTWS_STATE_ERROR)
        return; /* passed through: the change that follows has the same reason */
    if (change->state == MTWS_STATE_RECONNECTING)
        snprintf(text, sizeof text, "%s in %.2f s: %s", name, change->retry_ms / 1000.0,
                 change->reason);
    else snprintf(text, sizeof text, "%s%s%s", name, *change->reason ? ": " : "", change->reason);
    say(d, "client", text);
}

static void settle(demo *d, const mtws_event *event, fate which) {
    for (uint64_t id = event->first_id; id <= event->id && id <= d->sent; id++)
        d->fates[id] = which;
}

static void note_delivery(demo *d) {
    uint64_t now = now_us();
    if (d->last_delivery_us && now - d->last_delivery_us > d->longest_gap_us)
        d->longest_gap_us = now - d->last_delivery_us;
    d->last_delivery_us = now;
}

static uint64_t count_fates(const demo *d, fate which) {
    uint64_t count = 0;
    for (uint64_t id = 1; id <= d->sent; id++) count += d->fates[id] == which;
    return count;
}

/* One turn of the client; false when it has ended. */
static bool pump(demo *d, int timeout_ms) {
    mtws_event event;
    if (mtws_poll(d->ws, &event, timeout_ms) < 0) return false;
    switch (event.type) {
    case MTWS_EVENT_STATE: show_state(d, &event); break;
    case MTWS_EVENT_MESSAGE: d->echoed++; break;
    case MTWS_EVENT_DELIVERED:
        settle(d, &event, DELIVERED);
        note_delivery(d);
        break;
    case MTWS_EVENT_DROPPED:
        settle(d, &event, DROPPED);
        say(d, "client", mtws_result_text(event.result));
        break;
    default: break;
    }
    return true;
}

static bool run(demo *d) {
    int next_send = 0;
    size_t next_step = 0;
    while (elapsed_ms(d) < END_MS) {
        int now = elapsed_ms(d);
        if (next_step < STEP_COUNT && now >= steps[next_step].at_ms) {
            if (!take_step(d, &steps[next_step++])) return false;
            continue;
        }
        if (now >= next_send) {
            if (!send_numbered(d)) return false;
            next_send += SEND_EVERY_MS;
        }
        int until = next_send;
        if (next_step < STEP_COUNT && steps[next_step].at_ms < until)
            until = steps[next_step].at_ms;
        if (!pump(d, until > now ? until - now : 0)) return complain("client", "has given up");
    }
    say(d, "client", "sends no more, and waits until everything is delivered");
    while (count_fates(d, UNSETTLED) > 0 && elapsed_ms(d) < END_MS + SETTLE_MS)
        if (!pump(d, 100)) return complain("client", "has given up");
    mtws_disconnect(d->ws, 1000, NULL);
    while (pump(d, 1000)) {
    }
    return true;
}

/* ---- the account ---------------------------------------------------------------------------- */

/* Each line: connection number, kind, size, payload. */
static bool read_ledger(demo *d) {
    FILE *file = fopen(ledger, "r");
    if (!file) return complain(ledger, strerror(errno));
    char line[256];
    unsigned long long number, highest = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%*u t %*u message %llu", &number) != 1 || number < 1 ||
            number > d->sent) {
            d->unknown++;
            continue;
        }
        if (d->arrivals[number]++ == 0) {
            d->out_of_order += number < highest;
            highest = number > highest ? number : highest;
        }
    }
    fclose(file);
    return true;
}

static void show_row(const char *what, uint64_t count, const char *note) {
    printf("  %-24s %6llu   %s\n", what, (unsigned long long)count, note);
}

static bool show_account(const demo *d) {
    mtws_stats stats;
    mtws_get_stats(d->ws, &stats);
    uint64_t received = 0, again = 0, lost = 0;
    for (uint64_t id = 1; id <= d->sent; id++) {
        received += d->arrivals[id] > 0;
        again += d->arrivals[id] > 1 ? d->arrivals[id] - 1 : 0;
        lost += d->arrivals[id] == 0;
    }
    uint64_t delivered = count_fates(d, DELIVERED);
    printf("\n");
    show_row("sent", d->sent, "messages that mtws_send took");
    show_row("delivered", delivered, "MTWS_EVENT_DELIVERED said so");
    show_row("dropped", count_fates(d, DROPPED), "MTWS_EVENT_DROPPED said so");
    show_row("received by the server", received, "different messages in its ledger");
    show_row("received again", again, "further copies in its ledger");
    show_row("sent again", stats.resent, "had left, unconfirmed, when the connection died");
    show_row("echoes received", d->echoed, "copies too; an echo lost with its connection is gone");
    show_row("reconnects", stats.connects > 0 ? stats.connects - 1 : 0, "");
    show_row("longest gap", d->longest_gap_us / 1000, "ms between two deliveries");
    show_row("out of order", d->out_of_order, "in its ledger, first arrivals");
    show_row("lost", lost, "sent, but not in its ledger");
    if (d->unknown > 0) show_row("not understood", d->unknown, "lines of its ledger");
    bool good = lost == 0 && d->out_of_order == 0 && d->unknown == 0 && delivered == d->sent;
    printf("\n%s\n", good ? "Nothing was lost." : "FAILED");
    return good;
}

int main(int argc, char **argv) {
    static demo d;
    d.server_program = argc > 1 ? argv[1] : "./chaos_server";
    d.server_output = -1;
    const char *directory = getenv("TMPDIR");
    snprintf(ledger, sizeof ledger, "%s/mtws-demo-XXXXXX", directory ? directory : "/tmp");
    int file = mkstemp(ledger);
    if (file < 0) {
        complain(ledger, strerror(errno));
        return 1;
    }
    close(file);
    catch_signals();

    static const step first = {0, START, NULL, NULL, "starts"};
    d.start_us = now_us();
    bool good = take_step(&d, &first) && start_client(&d) && run(&d);
    kill_server();
    good = good && read_ledger(&d) && show_account(&d);
    mtws_destroy(d.ws);
    unlink(ledger);
    if (d.server_output >= 0) close(d.server_output);
    return good ? 0 : 1;
}
