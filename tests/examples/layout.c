/* The layout of mtws_event as the C compiler sees it, in the words of layout.py. */
#include "mtws.h"

#include <stdio.h>

#define SHOW(field) printf("%s %zu\n", #field, offsetof(mtws_event, field))

int main(void) {
    SHOW(type);
    SHOW(state);
    SHOW(previous);
    SHOW(result);
    SHOW(reason);
    SHOW(close_code);
    SHOW(http_status);
    SHOW(attempt);
    SHOW(retry_ms);
    SHOW(kind);
    SHOW(data);
    SHOW(size);
    SHOW(first);
    SHOW(last);
    SHOW(written);
    SHOW(first_id);
    SHOW(id);
    printf("whole %zu\n", sizeof(mtws_event));
    return 0;
}
