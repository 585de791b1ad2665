// Spans by OTLP: whatever comes is spans or `invalid`, and what was taken can be answered again. The first byte picks
// the encoding.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "traces/otlp.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
  Result<std::vector<traces::Span>> spans;
  if (data[0] % 4 == 0) {
    spans = traces::read_otlp_json(body);
  } else if (data[0] % 4 == 1) {
    const auto plain = traces::unpacked(body, data[0] % 8 == 1 ? "gzip" : "deflate");
    if (!plain && plain.error().code != Code::invalid) std::abort();
    spans = traces::read_otlp_protobuf(plain.value_or(""));
  } else {
    spans = traces::read_otlp_protobuf(body);
  }
  if (!spans) {
    if (spans.error().code != Code::invalid) std::abort();
    return 0;
  }
  for (const auto& span : *spans)
    if (!json::parse_object(span.content) || traces::otlp_of(span.content).empty()) std::abort();
  return 0;
}
