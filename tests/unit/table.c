/* The table of FAULTS.md: its numbers are all there, once each and in order, and what it names
 * exists: files, and in them tests that are run. A comment that names a row stands in a file that
 * the row names, and each row is found by such a comment; so is each CVE. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

enum { ROWS_MAX = 200, FILES_MAX = 100, NAMES_MAX = 12, TEXT_MAX = 1 << 20, LAST_ROW = 71 };

typedef struct text_file {
    char path[64]; /* from the folder of the tests */
    char *text;    /* NULL: it could not be read */
} text_file;

typedef struct row {
    char number[8];
    text_file *files[NAMES_MAX];
    size_t file_count;
    bool mentioned;      /* by a comment in one of them */
    char numbers[2][20]; /* of CVEs */
    size_t numbers_count;
} row;

static text_file files[FILES_MAX];
static row rows[ROWS_MAX];
static size_t file_count, row_count, function_count;

/* The folder lies above this file, however the program was built and from where it is run. */
static char *read_text(const char *name) {
    const char *slash = strrchr(__FILE__, '/');
    char places[2][512];
    FILE *file = NULL;
    snprintf(places[0], sizeof places[0], "%.*s../%s",
             slash == NULL ? 0 : (int)(slash - __FILE__) + 1, __FILE__, name);
    snprintf(places[1], sizeof places[1], "%s", name);
    for (size_t i = 0; file == NULL && i < 2; i++) file = fopen(places[i], "rb");
    if (file == NULL) return NULL;
    char *text = (char *)calloc(1, TEXT_MAX);
    size_t size = text == NULL ? 0 : fread(text, 1, TEXT_MAX - 1, file);
    fclose(file);
    CHECK_TEXT(size > 0 && size < TEXT_MAX - 1, "%s has %zu bytes", name, size);
    return text;
}

static text_file *file_called(const char *path) {
    for (size_t i = 0; i < file_count; i++) {
        if (strcmp(files[i].path, path) == 0) return &files[i];
    }
    if (!CHECK(file_count < FILES_MAX)) return &files[0];
    text_file *file = &files[file_count++];
    snprintf(file->path, sizeof file->path, "%s", path);
    file->text = read_text(path);
    CHECK_TEXT(file->text != NULL, "there is no file %s", path);
    return file;
}

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The next place from `at` on where the word stands, whole; NULL: there is none. */
static const char *find_word(const char *text, const char *at, const char *word) {
    size_t size = strlen(word);
    while ((at = strstr(at, word)) != NULL) {
        if ((at == text || !word_char(at[-1])) && !word_char(at[size])) return at;
        at += size;
    }
    return NULL;
}

static bool follows(const char *text, const char *at, const char *before) {
    size_t size = strlen(before);
    return (size_t)(at - text) >= size && memcmp(at - size, before, size) == 0;
}

/* Whether the file defines the function, and runs it: a test program has it in its table of tests,
 * or calls it from there; the functions of a header are called by others. */
static bool is_run(const text_file *file, const char *name) {
    const char *text = file->text;
    bool python = strstr(file->path, ".py") != NULL;
    bool defined = false, called = strstr(file->path, ".h") != NULL;
    for (const char *at = text; (at = find_word(text, at, name)) != NULL; at++) {
        const char *line = at;
        while (line > text && line[-1] != '\n') line--;
        bool call = at[strlen(name)] == '(';
        bool definition = python ? follows(text, at, "def ") : memcmp(line, "static ", 7) == 0;
        if (definition && call) {
            defined = true;
            called = called || (python && follows(text, line, "@test\n"));
        } else {
            called = called || call || python || follows(text, at, "TEST(") ||
                     follows(text, at, "TEST_ROWS(") || follows(text, at, "{NULL, ");
        }
    }
    return defined && called;
}

/* What a row names, between backquotes: files have a slash, functions have none. */
static void read_names(row *r, const char *at, const char *end) {
    text_file *file = NULL;
    size_t functions = 0;
    while (at < end && (at = strchr(at, '`')) != NULL && at < end) {
        char name[64] = "";
        const char *close = strchr(at + 1, '`');
        if (!CHECK(close != NULL && close < end)) return;
        snprintf(name, sizeof name, "%.*s", (int)(close - at - 1), at + 1);
        at = close + 1;
        test_context("row %s, %s", r->number, name);
        if (strchr(name, '/') != NULL) {
            file = file_called(name);
            if (CHECK(r->file_count < NAMES_MAX)) r->files[r->file_count++] = file;
            continue;
        }
        functions++;
        if (CHECK(file != NULL) && file->text != NULL) {
            CHECK_TEXT(is_run(file, name), "%s has no %s that is run", file->path, name);
        }
    }
    test_context("%s", "");
    CHECK_TEXT(functions > 0, "row %s names no test", r->number);
    function_count += functions;
}

/* A row: | number | what goes wrong | what the client does | proved in | */
static void read_row(const char *line, const char *end) {
    if (!CHECK(row_count < ROWS_MAX)) return;
    row *r = &rows[row_count++];
    const char *bars[8];
    size_t count = 0;
    for (const char *at = line; at < end; at++) {
        if (*at == '|' && count < 8) bars[count++] = at;
    }
    snprintf(r->number, sizeof r->number, "%.*s", (int)strcspn(line + 2, " |"), line + 2);
    if (!CHECK_TEXT(count == 5 && bars[4] + 1 == end, "row %s has not four columns", r->number)) {
        return;
    }
    for (size_t i = 1; i < 4; i++) {
        CHECK_TEXT(bars[i + 1] - bars[i] > 6, "row %s, column %zu is empty", r->number, i + 1);
    }
    for (const char *at = line; (at = strstr(at, "CVE-")) != NULL && at < end; at++) {
        if (!CHECK(r->numbers_count < UNIT_COUNT(r->numbers))) return;
        char *number = r->numbers[r->numbers_count++];
        snprintf(number, sizeof r->numbers[0], "%.*s", (int)(4 + strspn(at + 4, "0123456789-")),
                 at);
    }
    read_names(r, bars[3], bars[4]);
}

static void whole(void) {
    char *text = read_text("FAULTS.md");
    if (!CHECK_TEXT(text != NULL, "FAULTS.md was not found")) return;
    for (const char *at = text; *at != 0;) {
        const char *end = strchr(at, '\n');
        if (end == NULL) end = at + strlen(at);
        if (at[0] == '|' && at[1] == ' ' && at[2] >= '0' && at[2] <= '9') read_row(at, end);
        at = *end == 0 ? end : end + 1;
    }
    free(text);
    CHECK(function_count > row_count);
}

/* 1 to 71; 43 is followed by 43a and 43b. */
static void numbers(void) {
    char expected[16];
    size_t at = 0;
    if (row_count == 0) whole();
    for (int number = 1; number <= LAST_ROW; number++) {
        for (const char *letter = number == 43 ? ".ab" : "."; *letter != 0; letter++) {
            snprintf(expected, sizeof expected, *letter == '.' ? "%d" : "%d%c", number, *letter);
            const char *got = at < row_count ? rows[at++].number : "nothing";
            if (!CHECK_TEXT(strcmp(got, expected) == 0, "%s where row %s is due", got, expected)) {
                return;
            }
        }
    }
    CHECK_UINT(row_count, at);
}

static void mention(const text_file *file, const char *number) {
    for (size_t i = 0; i < row_count; i++) {
        if (strcmp(rows[i].number, number) != 0) continue;
        bool named = false;
        for (size_t k = 0; k < rows[i].file_count; k++) named |= rows[i].files[k] == file;
        CHECK_TEXT(named, "a comment in %s names row %s, which does not name it", file->path,
                   number);
        rows[i].mentioned |= named;
        return;
    }
    FAIL("a comment in %s names row %s", file->path, number);
}

/* "13" or "16, 48 to 52, 55 and 56", behind "row " or "rows ". */
static void read_mention(const text_file *file, const char *at) {
    static const char *const joints[] = {" to ", ", ", " and "};
    size_t joint = 1;
    for (int value = 0, from = 0; joint < UNIT_COUNT(joints); from = value + 1) {
        char number[16];
        size_t size = strspn(at, "0123456789");
        if (!CHECK_TEXT(size > 0 && size < 4, "%s: %.30s", file->path, at)) return;
        value = atoi(at);
        for (; joint == 0 && from < value; from++) {
            snprintf(number, sizeof number, "%d", from);
            mention(file, number);
        }
        if ((at[size] == 'a' || at[size] == 'b') && !word_char(at[size + 1])) size++;
        snprintf(number, sizeof number, "%.*s", (int)size, at);
        mention(file, number);
        at += size;
        for (joint = 0; joint < UNIT_COUNT(joints); joint++) {
            size_t length = strlen(joints[joint]);
            if (strncmp(at, joints[joint], length) != 0) continue;
            if (at[length] < '0' || at[length] > '9') continue;
            at += length;
            break;
        }
    }
}

static void comments(void) {
    static const char mark[] = "FAULTS row";
    if (row_count == 0) whole();
    for (size_t i = 0; i < file_count; i++) {
        if (files[i].text == NULL) continue;
        for (const char *at = files[i].text; (at = strstr(at, mark)) != NULL;) {
            at += sizeof mark - 1;
            at += *at == 's';
            at += *at == ' ';
            read_mention(&files[i], at);
        }
    }
    for (size_t i = 0; i < row_count; i++) {
        const row *r = &rows[i];
        CHECK_TEXT(r->mentioned, "no test says that it proves row %s", r->number);
        for (size_t n = 0; n < r->numbers_count; n++) {
            bool found = false;
            for (size_t k = 0; k < r->file_count; k++) {
                const char *text = r->files[k]->text;
                found = found || (text != NULL && strstr(text, r->numbers[n]) != NULL);
            }
            CHECK_TEXT(found, "no test of row %s names %s", r->number, r->numbers[n]);
        }
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST(whole), TEST(numbers), TEST(comments)};
    return TEST_MAIN(tests, argc, argv);
}
