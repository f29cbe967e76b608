/* What a span says, as OTLP's JSON, by the semantic conventions for HTTP spans
 * (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). Never in it: the query, headers.
 */
#ifndef PROXY_OTLP_SPAN_H
#define PROXY_OTLP_SPAN_H

#include <stddef.h>

struct exchange;

/* At most `size` bytes, which is 1500 or more; a path that is too long is cut. Returns the length.
 */
size_t otlp_span_server(const struct exchange *exchange, char *out, size_t size);
size_t otlp_span_client(const struct exchange *exchange, char *out, size_t size);

#endif
