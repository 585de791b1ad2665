#include "infer/http/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "infer/http/request_parser.h"

namespace lathe::infer::http {

Result<std::string> inflate(std::string_view encoding, std::string_view packed, std::size_t most) {
  if (!equal_ignoring_case(encoding, "gzip") && !equal_ignoring_case(encoding, "deflate"))
    return fail(Code::unsupported_media, "what is sent may be packed by gzip or deflate only");
  constexpr int kEitherFormat = 32;
  z_stream stream{};
  if (::inflateInit2(&stream, MAX_WBITS + kEitherFormat) != Z_OK)
    return fail(Code::exhausted, "there is not enough memory to unpack what was sent");
  const std::unique_ptr<z_stream, decltype(&::inflateEnd)> owner(&stream, &::inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  for (;;) {
    const auto before = out.size();
    out.resize(std::min(std::max(2 * before, 4 * packed.size() + 64), most + 1));
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = static_cast<uInt>(out.size() - before);
    const int status = ::inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
    if (out.size() > most)
      return fail(Code::exhausted,
                  "what was sent is larger than " + std::to_string(most) + " bytes once it is unpacked");
    if (status == Z_STREAM_END) return out;
    if (status != Z_OK || (stream.avail_in == 0 && stream.avail_out != 0))
      return fail(Code::invalid, "what was sent is not packed by " + std::string(encoding));
  }
}

}  // namespace lathe::infer::http
