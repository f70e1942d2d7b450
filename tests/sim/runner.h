/* Many runs, in several processes; shrinking of those that fail; what is printed.
 */
#ifndef MTWS_SIM_RUNNER_H_INCLUDED
#define MTWS_SIM_RUNNER_H_INCLUDED

/* ---- shrinking ------------------------------------------------------------------------------- */

static void print_traits(const trait_mask *mask)
{
    const char *joint = "";
    for (int i = 0; i < TRAITS_COUNT; i++) {
        if (mask_has(mask, i)) {
            printf("%s%s", joint, traits[i].name);
            joint = ",";
        }
    }
    putchar('\n');
}

/* Turns traits off and shortens, as long as the same thing goes wrong. */
static void shrink(uint64_t seed, const outcome *first)
{
    trait_mask mask = first->on;
    unsigned percent = 100;
    bool changed = true;
    for (int pass = 0; pass < 3 && changed; pass++) {
        changed = false;
        for (int i = 0; i < TRAITS_COUNT; i++) {
            if (!mask_has(&mask, i)) {
                continue;
            }
            trait_mask less = mask;
            mask_set(&less, i, false);
            outcome out = run_seed(seed, &less, percent, 1);
            if (out.failed && strcmp(out.key, first->key) == 0) {
                mask = less;
                changed = true;
            }
        }
        for (unsigned shorter = percent / 2; shorter >= 1; shorter /= 2) {
            outcome out = run_seed(seed, &mask, shorter, 1);
            if (out.failed && strcmp(out.key, first->key) == 0) {
                percent = shorter;
                changed = true;
            }
        }
    }
    outcome out = run_seed(seed, &mask, percent, 1);
    printf("shrunk to %u %% of the time and the traits: ", percent);
    print_traits(&mask);
    printf("  violated: %s: %s\n", out.key, out.text);
}

static void print_trace(uint64_t lines)
{
    uint64_t from = sim.trace_count > lines ? sim.trace_count - lines : 0;
    for (uint64_t i = from; i < sim.trace_count; i++) {
        trace_print(&sim.trace[i % TRACE_SIZE]);
    }
}

static void print_failure(uint64_t seed, const outcome *out, bool full)
{
    printf("SEED=%llu violated: %s: %s\n", (unsigned long long)seed, out->key, out->text);
    if (!full) {
        return;
    }
    print_trace(40);
    printf("trace hash %016llx, traits: ", (unsigned long long)out->hash);
    print_traits(&out->on);
}

/* ---- many runs ------------------------------------------------------------------------------- */

enum { JOBS_MAX = 64, KEYS_SHOWN = 12 };

typedef struct task {
    uint64_t first, seeds; /* seeds 0: as many as there is time for */
    double seconds;        /* 0: as long as it takes */
    unsigned jobs;
    unsigned lines; /* of failing seeds that are not shown in full */
    uint64_t seed; /* one alone */
    bool one, shrink;
    bool stop; /* at the first violation */
    unsigned percent;
    trait_mask mask;
} task;

static volatile uint64_t running_seed, watched_seed;

static void on_signal(int number)
{
    char text[96];
    int size;
    if (number == SIGALRM && running_seed != watched_seed) {
        watched_seed = running_seed;
        return;
    }
    size =
        snprintf(text, sizeof text, "SEED=%llu violated: %s %d\n", (unsigned long long)running_seed,
                 number == SIGALRM ? "hangs" : "signal", number);
    if (write(1, text, (size_t)size) < 0) {
        _exit(3);
    }
    _exit(2);
}

static void watch_signals(void)
{
    struct itimerval every = {{20, 0}, {20, 0}};
    signal(SIGALRM, on_signal);
    if (!SIM_ASAN) {
        signal(SIGSEGV, on_signal);
        signal(SIGBUS, on_signal);
        signal(SIGFPE, on_signal);
        signal(SIGABRT, on_signal);
    }
    setitimer(ITIMER_REAL, &every, NULL);
}

static double clock_seconds(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return (double)now.tv_sec + (double)now.tv_usec / 1e6;
}

static void count_seed(const outcome *out)
{
    sim.counts.seeds++;
    sim.counts.failed += out->failed;
    for (int i = 0; i < TRAITS_COUNT; i++) {
        sim.counts.seeds_with[i] += mask_has(&out->on, i);
    }
}

/* Runs a seed, now and then twice: the same inputs give the same run. */
static outcome run_counted(uint64_t seed, const task *t)
{
    running_seed = seed;
    outcome out = run_seed(seed, &t->mask, t->percent, 0);
    if (seed % 32 == 0 && !out.failed) {
        outcome again = run_seed(seed, &t->mask, t->percent, 0xff);
        sim.counts.repeats++;
        if (again.hash != out.hash) {
            again.failed = true;
            snprintf(again.key, sizeof again.key, "replay");
            snprintf(again.text, sizeof again.text, "two runs of the seed differ");
            out = again;
        }
    }
    count_seed(&out);
    return out;
}

static void run_many(const task *t, unsigned job, sim_counts *result)
{
    static char shown[KEYS_SHOWN][128];
    unsigned keys = 0, lines = 0;
    double end = clock_seconds() + t->seconds;
    for (uint64_t i = job; t->seeds == 0 || i < t->seeds; i += t->jobs) {
        uint64_t seed = t->first + i;
        outcome out = run_counted(seed, t);
        if (out.failed) {
            bool known = keys == KEYS_SHOWN;
            for (unsigned k = 0; k < keys; k++) {
                known = known || strcmp(shown[k], out.key) == 0;
            }
            if (!known) {
                memcpy(shown[keys++], out.key, sizeof out.key);
            }
            if (!known || lines++ < t->lines) {
                print_failure(seed, &out, !known);
            }
            if (!known && t->shrink) {
                shrink(seed, &out);
            }
            fflush(stdout);
        }
        *result = sim.counts;
        if (out.failed && t->stop) {
            break;
        }
        if (t->seconds > 0 && i / t->jobs % 16 == 0 && clock_seconds() >= end) {
            break;
        }
    }
}

static void counts_add(sim_counts *to, const sim_counts *from)
{
    uint64_t *a = (uint64_t *)(void *)to;
    const uint64_t *b = (const uint64_t *)(const void *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++) {
        a[i] += b[i];
    }
}

/* Something that goes wrong, and not what a program or a server may well do. */
static bool is_fault(int trait)
{
    switch (trait) {
    case T_WRONG_PONG:
    case T_HOSTILE: return true;
    case T_SERVER_PING:
    case T_SERVER_CLOSE:
    case T_SERVER_BEAT:
    case T_SPURIOUS_POLL:
    case T_NETLINK:
    case T_MANUAL:
    case T_WAKE:
    case T_PUSH:
    case T_CLEAR:
    case T_PAUSE:
    case T_DISCONNECT:
    case T_RETRY:
    case T_NEW_URL: return false;
    default: return traits[trait].kind != 'H' || trait == T_POISON_FOREVER;
    }
}

static void print_summary(const sim_counts *c, double seconds)
{
    static const char *const events[] = {"none",      "STATE",   "MESSAGE",
                                         "DELIVERED", "DROPPED", "WRITABLE"};
    uint64_t faults = 0;
    for (int i = 0; i < TRAITS_COUNT; i++) {
        faults += is_fault(i) ? c->hits[i] : 0;
    }
    printf("%llu seeds in %.1f s: %.0f a second, %.2f simulated years, %llu faults injected, "
           "%llu violations\n",
           (unsigned long long)c->seeds, seconds, (double)c->seeds / seconds,
           (double)c->virtual_us / 1e6 / 86400 / 365, (unsigned long long)faults,
           (unsigned long long)c->failed);
    printf("%llu polls, %llu connections (%llu opened), %llu messages sent (%llu written again), "
           "%llu received, %.1f MB out, %.1f MB in, %llu seeds run twice\n",
           (unsigned long long)c->polls, (unsigned long long)c->connections,
           (unsigned long long)c->opened, (unsigned long long)c->messages,
           (unsigned long long)c->resent, (unsigned long long)c->pushes, (double)c->bytes_out / 1e6,
           (double)c->bytes_in / 1e6, (unsigned long long)c->repeats);
    printf("events:");
    for (int i = 1; i < 6; i++) {
        printf(" %s %llu", events[i], (unsigned long long)c->events[i]);
    }
    printf("\nstates:");
    for (int i = 0; i < 7; i++) {
        printf(" %s %llu", mtws_state_name((mtws_state)i), (unsigned long long)c->states[i]);
    }
    printf("\nfailures by result:");
    for (int i = 1; i < 27; i++) {
        if (c->results[i] > 0) {
            printf(" %d: %llu", -i, (unsigned long long)c->results[i]);
        }
    }
    printf("\nmessages dropped by result:");
    for (int i = 1; i < 27; i++) {
        if (c->drops[i] > 0) {
            printf(" %d: %llu", -i, (unsigned long long)c->drops[i]);
        }
    }
    printf("\ntraits (seeds that had them, times that they struck):\n");
    for (int i = 0; i < TRAITS_COUNT; i++) {
        printf("  %-16s %8llu %10llu  %s\n", traits[i].name, (unsigned long long)c->seeds_with[i],
               (unsigned long long)c->hits[i], traits[i].text);
    }
}

static int run_jobs(const task *t)
{
    size_t size = sizeof(sim_counts) * JOBS_MAX;
    sim_counts *results =
        (sim_counts *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[JOBS_MAX];
    sim_counts total;
    double start = clock_seconds();
    bool crashed = false;
    if (results == MAP_FAILED) {
        return 1;
    }
    fflush(stdout);
    for (unsigned job = 0; job < t->jobs; job++) {
        children[job] = fork();
        if (children[job] == 0) {
            watch_signals();
            run_many(t, job, &results[job]);
            test_print_stalls();
            fflush(stdout);
            _exit(0);
        }
    }
    memset(&total, 0, sizeof total);
    for (unsigned job = 0; job < t->jobs; job++) {
        int status = 0;
        if (children[job] < 0 || waitpid(children[job], &status, 0) < 0 || status != 0) {
            crashed = true;
            total.failed++;
        }
        counts_add(&total, &results[job]);
    }
    print_summary(&total, clock_seconds() - start);
    if (crashed) {
        printf("a job has crashed\n");
    }
    printf("%llu passed, %llu failed\n",
           (unsigned long long)(total.seeds
                                - (total.failed < total.seeds ? total.failed : total.seeds)),
           (unsigned long long)total.failed);
    return total.failed == 0 && total.seeds > 0 ? 0 : 1;
}

static int run_one(const task *t)
{
    running_seed = t->seed;
    outcome out = run_seed(t->seed, &t->mask, t->percent, 0);
    if (out.failed) {
        print_failure(t->seed, &out, !sim.trace_all);
        if (t->shrink && !sim.trace_all) {
            shrink(t->seed, &out);
        }
    } else {
        printf("traits: ");
        print_traits(&out.on);
    }
    bool traced = sim.trace_all;
    sim.trace_all = false;
    outcome again = run_seed(t->seed, &t->mask, t->percent, 0xff);
    sim.trace_all = traced;
    bool same = again.hash == out.hash;
    printf("trace hash %016llx, again %016llx%s\n", (unsigned long long)out.hash,
           (unsigned long long)again.hash, same ? "" : ": THEY DIFFER");
    bool failed = out.failed || again.failed || !same;
    printf("%d passed, %d failed\n", !failed, failed);
    return failed;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static bool read_traits(const char *list, trait_mask *mask)
{
    memset(mask, 0, sizeof *mask);
    while (*list != '\0') {
        size_t size = strcspn(list, ",");
        bool found = false;
        for (int i = 0; i < TRAITS_COUNT; i++) {
            if (strlen(traits[i].name) == size && strncmp(traits[i].name, list, size) == 0) {
                mask_set(mask, i, true);
                found = true;
            }
        }
        if (!found) {
            printf("no trait is called %.*s\n", (int)size, list);
            return false;
        }
        list += size + (list[size] == ',');
    }
    return true;
}

static bool argument_is(const char *argument, size_t size, const char *name)
{
    return strlen(name) == size && strncmp(argument, name, size) == 0;
}

static bool read_argument(task *t, const char *argument)
{
    const char *value = strchr(argument, '=');
    size_t size = value == NULL ? 0 : (size_t)(value - argument);
    if (value == NULL || value[1] == '\0') {
        return value != NULL; /* "seed=" of a Makefile that was given none */
    }
    uint64_t number = strtoull(++value, NULL, 10);
    if (argument_is(argument, size, "seconds")) {
        t->seconds = (double)number;
    } else if (argument_is(argument, size, "seeds")) {
        t->seeds = number;
        t->seconds = 0;
    } else if (argument_is(argument, size, "first")) {
        t->first = number;
    } else if (argument_is(argument, size, "jobs")) {
        t->jobs = number < 1 ? 1 : number > JOBS_MAX ? JOBS_MAX : (unsigned)number;
    } else if (argument_is(argument, size, "seed")) {
        t->seed = number;
        t->one = true;
    } else if (argument_is(argument, size, "lines")) {
        t->lines = (unsigned)number;
    } else if (argument_is(argument, size, "percent")) {
        t->percent = (unsigned)number;
    } else if (argument_is(argument, size, "trace")) {
        sim.trace_all = number != 0;
    } else if (argument_is(argument, size, "shrink")) {
        t->shrink = number != 0;
    } else if (argument_is(argument, size, "stop")) {
        t->stop = number != 0;
    } else if (argument_is(argument, size, "only")) {
        return read_traits(value, &t->mask);
    } else {
        return false;
    }
    return true;
}

#endif
