/* See static_a.c. */
#define MTWS_STATIC
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

typedef mtws_result (*send_function)(mtws_client *, const char *);
send_function static_b_send(void);

send_function static_b_send(void) { return mtws_send_text; }
