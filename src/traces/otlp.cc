// OTLP's protobuf, read field by field from its bytes: messages are not built in memory first, where a body of empty
// ones would become a hundred times as large.
#include "traces/otlp.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <zlib.h>

#include <bit>

#include "base/digest.h"
#include "base/utf8.h"
#include "traces/span.h"

namespace lathe::traces {
namespace {

using google::protobuf::internal::WireFormatLite;

constexpr int kDeepest = 100;  ///< messages in messages, as protobuf's own readers allow

// A field as it stands on the wire: its number and how it is written.
constexpr std::uint32_t varint(std::uint32_t number) {
  return number << 3;
}
constexpr std::uint32_t fixed64(std::uint32_t number) {
  return number << 3 | 1;
}
constexpr std::uint32_t bytes(std::uint32_t number) {
  return number << 3 | 2;
}

Error malformed() {
  return {Code::invalid,
          "the body is not an OTLP ExportTraceServiceRequest in protobuf: it is broken off, or something else",
          {}};
}

class Wire {
 public:
  explicit Wire(std::string_view body)
      : in_(reinterpret_cast<const std::uint8_t*>(body.data()), static_cast<int>(body.size())) {
    in_.PushLimit(static_cast<int>(body.size()));
    in_.SetRecursionLimit(kDeepest);
  }

  /// Calls `read(tag)` for each field up to the message's end; it answers whether it took the field.
  template <class Read>
  Result<void> fields(Read read) {
    for (;;) {
      const auto tag = in_.ReadTag();
      if (tag == 0) {
        if (!in_.ConsumedEntireMessage()) return fail(malformed());
        return {};
      }
      LATHE_TRY(const bool taken, read(tag));
      if (!taken && !WireFormatLite::SkipField(&in_, tag)) return fail(malformed());
    }
  }

  /// A message that is the value of a field.
  template <class Read>
  Result<bool> message(Read read) {
    LATHE_TRY(const auto size, length());
    if (!in_.IncrementRecursionDepth())
      return fail(Code::invalid, fmt::format("the values of a span may lie at most {} messages deep", kDeepest));
    const auto outer = in_.PushLimit(size);
    LATHE_CHECK(fields(read));
    in_.PopLimit(outer);
    in_.DecrementRecursionDepth();
    return true;
  }

  Result<bool> blob(std::string& out) {
    LATHE_TRY(const auto size, length());
    if (!in_.ReadString(&out, size)) return fail(malformed());
    return true;
  }

  Result<bool> text(std::string& out) {
    LATHE_CHECK(blob(out));
    if (!is_utf8(out)) return fail(Code::invalid, "a text in the body is not UTF-8: send bytes as bytes_value");
    return true;
  }

  Result<bool> number(std::uint64_t& out) {
    if (!in_.ReadVarint64(&out)) return fail(malformed());
    return true;
  }

  Result<bool> fixed(std::uint64_t& out) {
    if (!in_.ReadLittleEndian64(&out)) return fail(malformed());
    return true;
  }

 private:
  Result<int> length() {
    std::uint32_t size = 0;
    if (!in_.ReadVarint32(&size) || size > static_cast<std::uint32_t>(in_.BytesUntilLimit())) return fail(malformed());
    return static_cast<int>(size);
  }

  google::protobuf::io::CodedInputStream in_;
};

class Reader {
 public:
  explicit Reader(std::string_view body) : wire_(body) {}

  Result<std::vector<Span>> request() {
    const auto scope = [&](std::uint32_t tag) -> Result<bool> {
      if (tag != bytes(2)) return false;
      return span();
    };
    const auto resource = [&](std::uint32_t tag) -> Result<bool> {
      if (tag != bytes(2)) return false;
      return wire_.message(scope);
    };
    LATHE_CHECK(wire_.fields([&](std::uint32_t tag) -> Result<bool> {
      if (tag != bytes(1)) return false;
      return wire_.message(resource);
    }));
    return std::move(spans_);
  }

 private:
  Result<bool> span() {
    LATHE_CHECK(budget_.take_span());
    SentSpan out;
    LATHE_CHECK(wire_.message([&](std::uint32_t tag) -> Result<bool> {
      switch (tag) {
        case bytes(1):
          return wire_.blob(out.trace_id);
        case bytes(2):
          return wire_.blob(out.span_id);
        case bytes(4):
          return wire_.blob(out.parent_id);
        case bytes(5):
          return wire_.text(out.name);
        case fixed64(7):
          return wire_.fixed(out.start_ns);
        case fixed64(8):
          return wire_.fixed(out.end_ns);
        case bytes(9):
          return key_value(out.attributes);
        case bytes(11):
          return event(out.events);
        case bytes(13):
          return link(out.links);
        case bytes(15):
          return status(out);
        default:
          return false;
      }
    }));
    LATHE_TRY(auto made, make_span(out));
    spans_.push_back(std::move(made));
    return true;
  }

  Result<bool> event(std::vector<SentSpan::Event>& events) {
    LATHE_CHECK(budget_.take_value());
    auto& out = events.emplace_back();
    return wire_.message([&](std::uint32_t tag) -> Result<bool> {
      switch (tag) {
        case fixed64(1):
          return wire_.fixed(out.at_ns);
        case bytes(2):
          return wire_.text(out.name);
        case bytes(3):
          return key_value(out.attributes);
        default:
          return false;
      }
    });
  }

  Result<bool> link(std::vector<SentSpan::Link>& links) {
    LATHE_CHECK(budget_.take_value());
    auto& out = links.emplace_back();
    return wire_.message([&](std::uint32_t tag) -> Result<bool> {
      switch (tag) {
        case bytes(1):
          return wire_.blob(out.trace_id);
        case bytes(2):
          return wire_.blob(out.span_id);
        case bytes(4):
          return key_value(out.attributes);
        default:
          return false;
      }
    });
  }

  Result<bool> status(SentSpan& out) {
    return wire_.message([&](std::uint32_t tag) -> Result<bool> {
      if (tag == bytes(2)) return wire_.text(out.status_message);
      if (tag != varint(3)) return false;
      std::uint64_t code = 0;
      LATHE_CHECK(wire_.number(code));
      out.status = static_cast<std::int64_t>(code);
      return true;
    });
  }

  Result<bool> key_value(json::Object& out) {
    LATHE_CHECK(budget_.take_value());
    std::string key;
    json::Value value;
    LATHE_CHECK(wire_.message([&](std::uint32_t tag) -> Result<bool> {
      if (tag == bytes(1)) return wire_.text(key);
      if (tag == bytes(2)) return any_value(value);
      return false;
    }));
    out[key] = std::move(value);
    return true;
  }

  Result<bool> any_value(json::Value& out) {
    return wire_.message([&](std::uint32_t tag) -> Result<bool> {
      std::uint64_t number = 0;
      std::string text;
      switch (tag) {
        case bytes(1):
          LATHE_CHECK(wire_.text(text));
          out = boost::json::string_view(text);
          return true;
        case varint(2):
          LATHE_CHECK(wire_.number(number));
          out = number != 0;
          return true;
        case varint(3):
          LATHE_CHECK(wire_.number(number));
          out = static_cast<std::int64_t>(number);
          return true;
        case fixed64(4):
          LATHE_CHECK(wire_.fixed(number));
          out = std::bit_cast<double>(number);
          return true;
        case bytes(5):
          return list(out);
        case bytes(6):
          return object(out);
        case bytes(7):
          LATHE_CHECK(wire_.blob(text));
          out = boost::json::string_view(base64_encode(text));
          return true;
        default:
          return false;
      }
    });
  }

  Result<bool> list(json::Value& out) {
    json::Array items;
    LATHE_CHECK(wire_.message([&](std::uint32_t tag) -> Result<bool> {
      if (tag != bytes(1)) return false;
      LATHE_CHECK(budget_.take_value());
      items.emplace_back(nullptr);
      return any_value(items.back());
    }));
    out = std::move(items);
    return true;
  }

  Result<bool> object(json::Value& out) {
    json::Object members;
    LATHE_CHECK(wire_.message([&](std::uint32_t tag) -> Result<bool> {
      if (tag != bytes(1)) return false;
      return key_value(members);
    }));
    out = std::move(members);
    return true;
  }

  Wire wire_;
  Budget budget_;
  std::vector<Span> spans_;
};

/// `window`: zlib's word for the format.
std::optional<std::string> inflated(std::string_view body, int window) {
  z_stream stream{};
  if (inflateInit2(&stream, window) != Z_OK) return std::nullopt;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));  // zlib does not write it
  stream.avail_in = static_cast<uInt>(body.size());
  std::string out;
  int rc = Z_OK;
  while (rc == Z_OK && out.size() <= kMostOtlpBytes) {
    const auto had = out.size();
    out.resize(had + 256 * 1024);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + had);
    stream.avail_out = static_cast<uInt>(out.size() - had);
    rc = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  if (rc != Z_STREAM_END && out.size() <= kMostOtlpBytes) return std::nullopt;
  return out;
}

}  // namespace

Result<std::vector<Span>> read_otlp_protobuf(std::string_view body) {
  if (body.size() > kMostOtlpBytes) return fail(malformed());
  return Reader(body).request();
}

Result<std::string> unpacked(std::string body, std::string_view encoding) {
  if (encoding.empty() || encoding == "identity") return body;
  std::optional<std::string> out;
  if (encoding == "gzip") {
    out = inflated(body, 16 + MAX_WBITS);
  } else if (encoding == "deflate") {
    out = inflated(body, MAX_WBITS);
    if (!out) out = inflated(body, -MAX_WBITS);  // some clients leave zlib's frame out
  } else {
    return fail(Code::invalid, fmt::format("Content-Encoding must be gzip, deflate or identity, not \"{}\"",
                                           std::string(encoding.substr(0, 40))));
  }
  if (!out) return fail(Code::invalid, fmt::format("the body is not what its Content-Encoding says: {}", encoding));
  if (out->size() > kMostOtlpBytes)
    return fail(Code::invalid, fmt::format("the body is larger than {} bytes when it is unpacked: send the spans in "
                                           "several requests",
                                           kMostOtlpBytes));
  return std::move(*out);
}

}  // namespace lathe::traces
