/* With static_b.c: MTWS_STATIC gives each file an implementation of its own, in one program. */
#define MTWS_STATIC
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

typedef mtws_result (*send_function)(mtws_client *, const char *);
send_function static_b_send(void);

int main(void) {
    /* Two functions of one name, so two addresses. */
    return static_b_send() != NULL && static_b_send() != mtws_send_text ? 0 : 1;
}
