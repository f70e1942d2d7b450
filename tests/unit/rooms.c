/* The layout of mtws.h, read as text: banners, what each room uses, that nothing is called upwards
 * or declared ahead, that pure rooms ask the system for nothing, how long functions are, and that
 * the functions of the api are there once and in its order. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

enum {
    ROOMS_MAX = 64,
    NAMES_MAX = 4000,
    TOKENS_MAX = 200000,
    LINES_MAX = 20000,
    FUNCTION_LINES_MAX = 90
};

/* ---- the text -------------------------------------------------------------------------------- */

static char *source;
static const char *lines[LINES_MAX]; /* lines[1] is the first; each ends with NUL */
static size_t line_count;

typedef enum token_kind { WORD, STRING, OTHER } token_kind;

typedef struct token {
    token_kind kind;
    const char *text; /* STRING has none */
    size_t size;
    size_t line;
} token;

static token tokens[TOKENS_MAX + 8]; /* some that are empty behind the end */
static size_t token_count;

static bool is(const token *t, const char *text) {
    return t->kind != STRING && t->size == strlen(text) && memcmp(t->text, text, t->size) == 0;
}

static bool begins(const token *t, const char *text) {
    size_t size = strlen(text);
    return t->kind == WORD && t->size >= size && memcmp(t->text, text, size) == 0;
}

/* The header lies two directories above this file, however the program was built and from where it
 * is run. */
static char *read_header(void) {
    static const char *const places[] = {"../mtws.h", "../../mtws.h", "mtws.h"};
    char path[512];
    const char *slash = strrchr(__FILE__, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - __FILE__) + 1;
    snprintf(path, sizeof path, "%.*s../../mtws.h", (int)size, __FILE__);
    FILE *file = fopen(path, "rb");
    for (size_t i = 0; file == NULL && i < UNIT_COUNT(places); i++) file = fopen(places[i], "rb");
    if (file == NULL) return NULL;
    size_t room = 4u << 20;
    char *text = (char *)calloc(1, room);
    size_t got = text == NULL ? 0 : fread(text, 1, room - 1, file);
    fclose(file);
    return got == 0 ? NULL : text;
}

/* Cuts a copy of the text into lines. */
static void split_lines(const char *text) {
    char *copy = (char *)malloc(strlen(text) + 1);
    if (copy == NULL) abort();
    strcpy(copy, text);
    for (char *at = copy; *at != 0 && line_count + 1 < LINES_MAX;) {
        lines[++line_count] = at;
        char *end = strchr(at, '\n');
        if (end == NULL) break;
        *end = 0;
        at = end + 1;
    }
}

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Past a comment, a string, a character or a preprocessor line that begins here; `at` where none
 * does. */
static const char *skip_other(const char *at, bool line_start, bool *string) {
    *string = false;
    if (line_start && *at == '#') {
        for (; *at != 0 && *at != '\n'; at++) {
            if (at[0] == '\\' && at[1] == '\n') at++;
            if (at[0] == '/' && at[1] == '*') break; /* a comment may go on behind the line */
        }
        return at;
    }
    if (at[0] == '/' && at[1] == '*') {
        const char *end = strstr(at + 2, "*/");
        return end == NULL ? at + strlen(at) : end + 2;
    }
    if (at[0] == '/' && at[1] == '/') return at + strcspn(at, "\n");
    if (*at != '"' && *at != '\'') return at;
    char quote = *at++;
    for (; *at != 0 && *at != quote; at++) {
        if (*at == '\\' && at[1] != 0) at++;
    }
    *string = quote == '"';
    return *at == 0 ? at : at + 1;
}

static void add_token(token_kind kind, const char *text, size_t size, size_t line) {
    if (token_count == TOKENS_MAX) abort();
    token t = {kind, text, size, line};
    tokens[token_count++] = t;
}

static void tokenize(const char *text) {
    size_t line = 1;
    bool line_start = true, string;
    for (const char *at = text; *at != 0;) {
        const char *next = skip_other(at, line_start, &string);
        if (next != at) {
            if (string) add_token(STRING, "", 0, line);
            for (; at < next; at++) line += *at == '\n';
            line_start = false;
        } else if (word_char(*at)) {
            size_t size = 0;
            while (word_char(at[size])) size++;
            add_token(WORD, at, size, line);
            at += size;
            line_start = false;
        } else {
            bool blank = *at == ' ' || *at == '\t' || *at == '\r';
            if (*at == '\n') {
                line++;
                line_start = true;
            } else if (!blank) {
                add_token(OTHER, at, 1, line);
                line_start = false;
            }
            at++;
        }
    }
}

/* ---- rooms ----------------------------------------------------------------------------------- */

typedef struct room {
    char name[32];
    size_t line; /* of ">>name" */
    bool has_uses;
    int uses[ROOMS_MAX]; /* rooms that the banner names */
    int uses_count;
    bool used[ROOMS_MAX]; /* rooms whose names are really there */
} room;

static room rooms[ROOMS_MAX];
static int room_count;

static int room_called(const char *name, size_t size) {
    for (int i = 0; i < room_count; i++) {
        if (strlen(rooms[i].name) == size && memcmp(rooms[i].name, name, size) == 0) return i;
    }
    return -1;
}

/* The room that a line lies in; -1: above all. */
static int room_at(size_t line) {
    int found = -1;
    for (int i = 0; i < room_count && rooms[i].line <= line; i++) found = i;
    return found;
}

static bool is_pure(int index) {
    static const char *const others[] = {"config", "api", "platform", "net",
                                         "way",    "tls", "client",   "public"};
    for (size_t i = 0; i < UNIT_COUNT(others); i++) {
        if (strcmp(rooms[index].name, others[i]) == 0) return false;
    }
    return true;
}

static void find_rooms(void) {
    for (size_t i = 2; i <= line_count && room_count < ROOMS_MAX; i++) {
        if (strncmp(lines[i], " * >>", 5) != 0) continue;
        room *r = &rooms[room_count];
        size_t size = strcspn(lines[i] + 5, " ");
        if (strncmp(lines[i - 1], "/* ====", 7) != 0 || size >= sizeof r->name) continue;
        memcpy(r->name, lines[i] + 5, size);
        r->line = i;
        room_count++;
    }
}

/* "uses: a, b," and the lines that go on with it. */
static void read_uses(room *r) {
    size_t line = r->line + 1;
    if (strncmp(lines[line], " * uses: ", 9) != 0) return;
    r->has_uses = true;
    const char *text = lines[line] + 9;
    if (strcmp(text, "nothing") == 0) return;
    for (;;) {
        size_t size = strcspn(text, ", ");
        int other = room_called(text, size);
        CHECK_TEXT(other >= 0, "%s uses \"%.*s\", which is no room", r->name, (int)size, text);
        if (other >= 0) r->uses[r->uses_count++] = other;
        text += size;
        if (*text != ',') break;
        text += strspn(text, ", ");
        if (*text != 0) continue;
        text = lines[++line];
        if (!CHECK_TEXT(strncmp(text, " *       ", 9) == 0, "%s: its list goes on nowhere",
                        r->name)) {
            return;
        }
        text += 9;
    }
    CHECK_TEXT(*text == 0, "%s: \"%s\" behind its list", r->name, text);
}

/* Once, by the first test that looks at them. */
static void read_all_uses(void) {
    static bool done;
    for (int i = 0; i < room_count && !done; i++) read_uses(&rooms[i]);
    done = true;
}

static void banners(void) {
    static const char bar[] =
        "/* ==========================================================================";
    read_all_uses();
    for (size_t i = 1; i <= line_count; i++) {
        if (strstr(lines[i], "====") == NULL) continue;
        test_context("line %zu", i);
        CHECK_STR(lines[i], bar);
        CHECK(i < line_count && strncmp(lines[i + 1], " * >>", 5) == 0);
    }
    for (int i = 0; i < room_count; i++) {
        const room *r = &rooms[i];
        test_context("%s", r->name);
        CHECK_UINT(strspn(r->name, "abcdefghijklmnopqrstuvwxyz0123456789"), strlen(r->name));
        /* A reference stands at its own place, or there is none. */
        size_t size = strlen(r->name) + 5, gap = strspn(lines[r->line] + size, " ");
        CHECK(lines[r->line][size] == 0 || size + gap == 47);
        for (int k = 0; k < i; k++) CHECK(strcmp(rooms[k].name, r->name) != 0);
        bool whole = strcmp(r->name, "config") != 0 && strcmp(r->name, "api") != 0;
        CHECK_INT(r->has_uses, whole);
        size_t end = r->line;
        while (end < line_count && strncmp(lines[end], " *", 2) == 0 &&
               strcmp(lines[end], " */") != 0)
            end++;
        CHECK_STR(lines[end], " */");
        bool says = false;
        for (size_t k = r->line; k < end; k++) says = says || strstr(lines[k], "Pure") != NULL;
        CHECK_INT(says, is_pure(i));
    }
    CHECK(room_count >= 20);
}

/* The table of contents, down to the next heading of the manual, names every room in order. */
static void contents(void) {
    int named = 0;
    size_t line = 1;
    while (line < line_count && strncmp(lines[line], " * CONTENTS", 11) != 0) line++;
    for (line++; line < line_count; line++) {
        if (strncmp(lines[line], " * ", 3) == 0 && lines[line][3] != ' ') break;
        for (const char *at = strstr(lines[line], ">>"); at != NULL; at = strstr(at + 2, ">>")) {
            size_t size = strcspn(at + 2, " ");
            int found = room_called(at + 2, size);
            CHECK_TEXT(found == named, "\"%.*s\" stands at place %d of the contents", (int)size,
                       at + 2, named);
            named++;
        }
    }
    CHECK_INT(named, room_count);
}

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct name {
    const char *text;
    size_t size;
    int room;
    bool function;
    size_t first, last; /* lines of a function */
    size_t body, end;   /* its tokens */
} name;

static name names[NAMES_MAX];
static size_t name_count;
static name declared[200], defined[200]; /* of the api */
static size_t declared_count, defined_count;
static unsigned ahead; /* private functions that are declared and not defined */

static const name *find_name(const token *t) {
    for (size_t i = 0; i < name_count; i++) {
        if (names[i].size == t->size && memcmp(names[i].text, t->text, t->size) == 0)
            return &names[i];
    }
    return NULL;
}

static name *add_name(const token *t, bool function) {
    if (name_count == NAMES_MAX) abort();
    name *n = &names[name_count++];
    memset(n, 0, sizeof *n);
    n->text = t->text;
    n->size = t->size;
    n->room = room_at(t->line);
    n->function = function;
    n->first = t->line;
    return n;
}

/* Past the bracket that closes the one at `at`. */
static size_t closed(size_t at) {
    static const char *const pairs[] = {"()", "{}", "[]"};
    for (size_t i = 0; i < 3; i++) {
        char open[2] = {pairs[i][0], 0}, close[2] = {pairs[i][1], 0};
        if (!is(&tokens[at], open)) continue;
        int depth = 0;
        for (; at < token_count; at++) {
            if (is(&tokens[at], open)) depth++;
            if (is(&tokens[at], close) && --depth == 0) return at + 1;
        }
    }
    return at + 1;
}

/* The word before the first bracket of a declaration, attributes left away: a function's name. */
static const token *function_name(size_t from, size_t to) {
    for (size_t i = from; i + 1 < to; i++) {
        if (is(&tokens[i], "__attribute__")) {
            i = closed(i + 1) - 1;
        } else if (tokens[i].kind == WORD && is(&tokens[i + 1], "(")) {
            return &tokens[i];
        }
    }
    return NULL;
}

static bool has_word(size_t from, size_t to, const char *word) {
    for (size_t i = from; i < to; i++) {
        if (is(&tokens[i], word)) return true;
    }
    return false;
}

/* Types and constants of a declaration that is no function: the names that are its room's own. */
static void add_types(size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        bool constant = begins(&tokens[i], "MTWS__") && is(&tokens[i - 1], "{");
        constant = constant || (begins(&tokens[i], "MTWS__") && is(&tokens[i - 1], ","));
        bool type = begins(&tokens[i], "mtws__") && i + 1 == to;
        if ((constant || type) && find_name(&tokens[i]) == NULL) add_name(&tokens[i], false);
    }
}

static void add_function(size_t from, size_t body, size_t end) {
    const token *t = function_name(from, body);
    if (t == NULL) return;
    name *n = add_name(t, true);
    n->first = tokens[from].line;
    n->last = tokens[end - 1].line;
    n->body = body;
    n->end = end;
    if (has_word(from, body, "MTWS_API") && defined_count < UNIT_COUNT(defined)) {
        defined[defined_count++] = *n;
    }
}

/* A declaration that ends with a semicolon. */
static void add_declaration(size_t from, size_t to) {
    const token *t = function_name(from, to);
    bool api = has_word(from, to, "MTWS_API");
    if (has_word(from, to, "typedef") || has_word(from, to, "enum") ||
        has_word(from, to, "struct")) {
        if (!api) {
            add_types(from, to);
            return;
        }
    }
    if (t == NULL) return;
    if (api && declared_count < UNIT_COUNT(declared)) {
        name n = {t->text, t->size, room_at(t->line), true, t->line, t->line, 0, 0};
        declared[declared_count++] = n;
    } else if (!api) {
        ahead++;
        printf("declared ahead: %.*s\n", (int)t->size, t->text);
    }
}

/* Walks over the declarations at the top level. */
static void find_names(void) {
    size_t from = 0;
    for (size_t at = 0; at < token_count;) {
        if (is(&tokens[at], "extern") && tokens[at + 1].kind == STRING) {
            at += 3; /* extern "C" {, whose end stands alone */
            from = at;
        } else if (is(&tokens[at], "}")) {
            from = ++at;
        } else if (is(&tokens[at], ";")) {
            add_declaration(from, at);
            from = ++at;
        } else if (is(&tokens[at], "{")) {
            size_t end = closed(at);
            bool type = has_word(from, at, "typedef") || is(&tokens[from], "enum") ||
                        is(&tokens[from], "struct") || has_word(from, at, "=");
            if (type) {
                at = end;
            } else {
                add_function(from, at, end);
                from = at = end;
            }
        } else if (is(&tokens[at], "(")) {
            at = closed(at);
        } else {
            at++;
        }
    }
}

/* ---- what stands in the bodies --------------------------------------------------------------- */

static bool in_list(const token *t, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (is(t, list[i])) return true;
    }
    return false;
}

/* Words before a bracket that are no calls. */
static bool is_keyword(const token *t) {
    static const char *const words[] = {"if",     "for", "while", "switch", "return",
                                        "sizeof", "do",  "else",  "case",   "void",
                                        "char",   "int", "bool",  "double", "defined"};
    return in_list(t, words, UNIT_COUNT(words));
}

/* What any room may call: it looks at its arguments alone. */
static bool is_harmless(const token *t) {
    static const char *const words[] = {"memcpy",
                                        "memmove",
                                        "memset",
                                        "memcmp",
                                        "memchr",
                                        "strlen",
                                        "strcmp",
                                        "strchr",
                                        "strspn",
                                        "strcspn",
                                        "UINT64_C",
                                        "INT64_C",
                                        "MTWS_ASSERT",
                                        "strncmp",
                                        "strstr",
                                        "offsetof",
                                        "MTWS_PEM_MEMORY_SIZE"};
    return in_list(t, words, UNIT_COUNT(words));
}

static bool is_allowed(const token *t, int in) {
    static const char *const platform[] = {"MTWS_SYS",
                                           "htons",
                                           "ntohs",
                                           "htonl",
                                           "ntohl",
                                           "gai_strerror",
                                           "S_ISDIR",
                                           "S_ISREG",
                                           "IN6_IS_ADDR_LOOPBACK",
                                           "IN6_IS_ADDR_UNSPECIFIED",
                                           "IN6_IS_ADDR_V4MAPPED"};
    static const char *const upper[] = {"va_start", "va_end",      "vsnprintf", "snprintf",
                                        "fprintf",  "MTWS_MALLOC", "MTWS_FREE"};
    if (is_harmless(t)) return true;
    if (begins(t, "br_")) return strcmp(rooms[in].name, "tls") == 0;
    if (strcmp(rooms[in].name, "platform") == 0) return in_list(t, platform, UNIT_COUNT(platform));
    return !is_pure(in) && in_list(t, upper, UNIT_COUNT(upper));
}

static bool may_use(int in, int other) {
    if (in == other) return true;
    for (int i = 0; i < rooms[in].uses_count; i++) {
        if (rooms[in].uses[i] == other) return true;
    }
    return false;
}

/* One token of a room's: what it names must be this room's or that of one it uses, and a call must
 * be of something that the room may call. */
static void check_token(size_t at, int in, const name *within) {
    const token *t = &tokens[at];
    bool member =
        is(&tokens[at - 1], ".") || (is(&tokens[at - 1], ">") && is(&tokens[at - 2], "-"));
    bool call = is(&tokens[at + 1], "(") && !member && !is_keyword(t);
    const name *n = member || (!begins(t, "mtws_") && !begins(t, "MTWS__")) ? NULL : find_name(t);
    if (n != NULL) {
        if (n->function && begins(t, "mtws_") && !begins(t, "mtws__")) {
            CHECK_TEXT(strcmp(rooms[in].name, "public") == 0, "%s calls the api's %.*s",
                       rooms[in].name, (int)t->size, t->text);
            return;
        }
        rooms[in].used[n->room] = true;
        CHECK_TEXT(may_use(in, n->room), "line %zu: %s is not said to use %s (%.*s)", t->line,
                   rooms[in].name, rooms[n->room].name, (int)t->size, t->text);
        CHECK_TEXT(n != within || !call, "line %zu: %.*s calls itself", t->line, (int)t->size,
                   t->text);
        return;
    }
    if (!call || within == NULL) return;
    /* MTWS_SYS(name)(...): the second bracket calls, and its word is a parameter of the macro. */
    if (is(&tokens[at - 1], "(") && is(&tokens[at - 2], "MTWS_SYS")) return;
    CHECK_TEXT(is_allowed(t, in), "line %zu: %s calls %.*s", t->line, rooms[in].name, (int)t->size,
               t->text);
}

static void uses(void) {
    size_t within = 0;
    read_all_uses();
    for (size_t at = 2; at < token_count; at++) {
        int in = room_at(tokens[at].line);
        if (in < 0 || !rooms[in].has_uses || tokens[at].kind != WORD) continue;
        while (within < name_count && (!names[within].function || names[within].end <= at))
            within++;
        const name *f = within < name_count && names[within].body <= at ? &names[within] : NULL;
        check_token(at, in, f);
    }
    for (int i = 0; i < room_count; i++) {
        for (int k = 0; k < rooms[i].uses_count; k++) {
            int other = rooms[i].uses[k];
            CHECK_TEXT(rooms[i].used[other], "%s says that it uses %s, and does not", rooms[i].name,
                       rooms[other].name);
            CHECK_TEXT(other < i, "%s uses %s, which does not stand above it", rooms[i].name,
                       rooms[other].name);
        }
    }
}

/* Every call to the system goes through the platform room's macro. */
static void system_calls(void) {
    size_t count = 0;
    for (size_t at = 0; at < token_count; at++) {
        if (!is(&tokens[at], "MTWS_SYS")) continue;
        int in = room_at(tokens[at].line);
        count++;
        CHECK_TEXT(in >= 0 && strcmp(rooms[in].name, "platform") == 0, "line %zu: MTWS_SYS",
                   tokens[at].line);
    }
    CHECK(count > 20);
}

static void nothing_ahead(void) {
    size_t functions = 0;
    CHECK_UINT(ahead, 0);
    for (size_t i = 0; i < name_count; i++) {
        const name *n = &names[i];
        if (!n->function) continue;
        functions++;
        bool private_name = n->size > 6 && memcmp(n->text, "mtws__", 6) == 0;
        bool at_home = private_name || strcmp(rooms[n->room].name, "public") == 0;
        CHECK_TEXT(at_home, "%.*s stands in %s", (int)n->size, n->text, rooms[n->room].name);
    }
    CHECK(functions > 150);
}

static void lengths(void) {
    for (size_t i = 0; i < name_count; i++) {
        const name *n = &names[i];
        if (!n->function) continue;
        size_t count = n->last - n->first + 1;
        CHECK_TEXT(count <= FUNCTION_LINES_MAX, "%.*s has %zu lines", (int)n->size, n->text, count);
    }
}

/* Nothing is kept between calls but in the client: every static in a function is constant. */
static void no_writable_statics(void) {
    for (size_t i = 0; i < name_count; i++) {
        for (size_t at = names[i].body; names[i].function && at < names[i].end; at++) {
            if (!is(&tokens[at], "static")) continue;
            CHECK_TEXT(is(&tokens[at + 1], "const"), "line %zu: a static that can change",
                       tokens[at].line);
        }
    }
}

static void the_state_has_one_writer(void) {
    unsigned writers = 0;
    for (size_t i = 0; i < name_count; i++) {
        for (size_t at = names[i].body; names[i].function && at + 5 < names[i].end; at++) {
            bool writes = is(&tokens[at], "ws") && is(&tokens[at + 1], "-") &&
                          is(&tokens[at + 2], ">") && is(&tokens[at + 3], "state") &&
                          is(&tokens[at + 4], "=") && !is(&tokens[at + 5], "=");
            if (!writes) continue;
            writers++;
            CHECK_TEXT(names[i].size == 17 && memcmp(names[i].text, "mtws__client_move", 17) == 0,
                       "line %zu: %.*s changes the state", tokens[at].line, (int)names[i].size,
                       names[i].text);
        }
    }
    CHECK_UINT(writers, 1);
}

/* The api's functions are defined once each, in its order. */
static void api_in_order(void) {
    CHECK(declared_count > 20);
    CHECK_UINT(defined_count, declared_count);
    for (size_t i = 0; i < declared_count; i++) {
        size_t times = 0;
        for (size_t k = 0; k < defined_count; k++) {
            times += defined[k].size == declared[i].size &&
                     memcmp(defined[k].text, declared[i].text, declared[i].size) == 0;
        }
        CHECK_TEXT(times == 1, "%.*s is defined %zu times", (int)declared[i].size, declared[i].text,
                   times);
        if (i >= defined_count) continue;
        CHECK_TEXT(defined[i].size == declared[i].size &&
                       memcmp(defined[i].text, declared[i].text, declared[i].size) == 0,
                   "%.*s is defined where %.*s is due", (int)defined[i].size, defined[i].text,
                   (int)declared[i].size, declared[i].text);
    }
}

static void columns(void) {
    for (size_t i = 1; i <= line_count; i++) {
        CHECK_TEXT(strlen(lines[i]) <= 100, "line %zu has %zu columns", i, strlen(lines[i]));
        CHECK_TEXT(strchr(lines[i], '\t') == NULL, "line %zu has a tab", i);
        size_t size = strlen(lines[i]);
        CHECK_TEXT(size == 0 || lines[i][size - 1] != ' ', "line %zu ends with a blank", i);
    }
}

static void enough_was_read(void) {
    CHECK(line_count > 1000);
    CHECK(token_count > 10000);
    CHECK(name_count > 300);
}

/* ---- the log --------------------------------------------------------------------------------- */

/* Whether the manual's list has the item with this level. A level's lines follow its name. */
static bool log_lists(const char *level, const char *item, size_t size) {
    static const char *const levels[] = {"ERROR", "WARN", "INFO", "DEBUG"};
    const char *at = strstr(source, " * THE LOG\n"), *end = strstr(at, "\n */");
    const char *own = strstr(at, level);
    for (size_t i = 0; i < UNIT_COUNT(levels); i++) {
        const char *other = strstr(own + strlen(level), levels[i]);
        if (other != NULL && other < end) end = other;
    }
    for (at = own; at < end; at++) {
        if (word_char(at[0]) || memcmp(at + 1, item, size) != 0) continue;
        if (!word_char(at[1 + size])) return true;
    }
    return false;
}

/* What is logged stands in the manual, under its level. */
static void log_items(void) {
    static const char mark[] = "MTWS_LOG_";
    int items = 0;
    for (const char *at = source; (at = strstr(at, mark)) != NULL;) {
        char level[8] = "";
        const char *begin = at += sizeof mark - 1;
        while (*at >= 'A' && *at <= 'Z' && at - begin < 7) at++;
        memcpy(level, begin, (size_t)(at - begin));
        at += strspn(at, ",");
        at += strspn(at, " \n");
        if (at[0] != '"') continue;
        size_t size = strcspn(at + 1, "\"");
        CHECK_TEXT(log_lists(level, at + 1, size), "%s %.*s", level, (int)size, at + 1);
        items++;
    }
    CHECK_RANGE(items, 20, 100);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(enough_was_read),
        TEST(banners),
        TEST(contents),
        TEST(uses),
        TEST(system_calls),
        TEST(lengths),
        TEST(no_writable_statics),
        TEST(the_state_has_one_writer),
        TEST(nothing_ahead),
        TEST(columns),
        TEST(api_in_order),
        TEST(log_items),
    };
    source = read_header();
    if (source == NULL) {
        puts("mtws.h was not found");
        puts("0 passed, 1 failed");
        return 1;
    }
    split_lines(source);
    tokenize(source);
    find_rooms();
    find_names();
    return TEST_MAIN(tests, argc, argv);
}
