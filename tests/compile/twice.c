/* The header included again and again, plain and with the implementation, which must come once. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"
#include "../../mtws.h"
#undef MTWS_IMPLEMENTATION
#include "../../mtws.h"
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

int main(void) { return mtws_memory_required(NULL) > 0 ? 0 : 1; }
