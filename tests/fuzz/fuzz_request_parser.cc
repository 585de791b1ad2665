// The data plane's HTTP parser gives the same however the bytes are cut: all at once, or in pieces as the first byte
// says.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "infer/http/request_parser.h"

using lathe::infer::http::Limits;
using lathe::infer::http::RequestParser;

namespace {

/// What came of it, as a text.
std::string parse(std::string_view input, std::size_t step) {
  RequestParser parser(Limits{.head_bytes = 500, .headers = 10, .body_bytes = 200});
  auto status = RequestParser::Status::need_more;
  std::string buffer;
  for (std::size_t size = 0; size < input.size() && status == RequestParser::Status::need_more;) {
    const auto more = input.substr(size, step);
    std::string moved = buffer + std::string(more);  // in memory of its exact size, so that ASan sees a byte too far
    buffer.swap(moved);
    size += more.size();
    status = parser.parse(buffer.data(), buffer.size());
  }
  if (status == RequestParser::Status::need_more) return "more";
  if (status == RequestParser::Status::error) return "error " + std::to_string(parser.status_code());
  const auto& request = parser.request();
  std::string out = "complete ";
  for (const auto part : {request.method, request.path, request.query, request.body}) out.append(part) += '|';
  for (const auto& header : request.headers) out.append(header.name).append(header.value) += '|';
  return out + std::to_string(parser.consumed()) + (request.keep_alive ? "k" : "c");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto whole = parse(input, std::size_t{1} << 20);
  if (parse(input, std::size_t{data[0]} % 16 + 1) != whole) std::abort();
  return 0;
}
