#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

/// protobuf's wire format: enough to read and write messages field by field, without copies of what they hold.
namespace lathe::infer::wire {

enum class Type : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  std::uint32_t number = 0;
  Type type = Type::varint;
  std::uint64_t value = 0;  ///< of the numeric types, as it stands there
  std::string_view bytes;   ///< points into the message

  bool flag() const { return value != 0; }
  std::int64_t integer() const { return static_cast<std::int64_t>(value); }
};

/// Walks the fields of a message, or the values of a packed list. Groups, which proto3 lacks, are malformed.
class Reader {
 public:
  explicit Reader(std::string_view message) : left_(message) {}

  /// False at the end, and where the message is malformed: `good` tells which.
  bool next(Field& field) {
    if (left_.empty()) return false;
    std::uint64_t tag = 0;
    if (!varint(tag)) return false;
    field.number = static_cast<std::uint32_t>(tag >> 3);
    field.type = static_cast<Type>(tag & 7);
    field.value = 0;
    field.bytes = {};
    if (field.number == 0 || tag >> 32 != 0) return broken();
    switch (field.type) {
      case Type::varint:
        return varint(field.value);
      case Type::fixed64:
        return fixed<std::uint64_t>(field.value);
      case Type::fixed32:
        return fixed<std::uint32_t>(field.value);
      case Type::bytes: {
        std::uint64_t size = 0;
        if (!varint(size)) return false;
        if (size > left_.size()) return broken();
        field.bytes = left_.substr(0, size);
        left_.remove_prefix(size);
        return true;
      }
    }
    return broken();
  }

  bool varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !left_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return true;
    }
    return broken();
  }

  bool at_end() const { return left_.empty(); }
  bool good() const { return good_; }

 private:
  bool broken() {
    good_ = false;
    left_ = {};
    return false;
  }

  template <class T>
  bool fixed(std::uint64_t& value) {
    static_assert(std::endian::native == std::endian::little);
    T read{};
    if (left_.size() < sizeof read) return broken();
    std::memcpy(&read, left_.data(), sizeof read);
    left_.remove_prefix(sizeof read);
    value = read;
    return true;
  }

  std::string_view left_;
  bool good_ = true;
};

inline std::size_t varint_size(std::uint64_t value) {
  return static_cast<std::size_t>(std::bit_width(value | 1) + 6) / 7;
}

inline void put_varint(std::string& out, std::uint64_t value) {
  char bytes[10];
  std::size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = static_cast<char>(value | 0x80);
  bytes[size++] = static_cast<char>(value);
  out.append(bytes, size);
}

inline void put_tag(std::string& out, std::uint32_t number, Type type) {
  put_varint(out, number << 3 | static_cast<std::uint32_t>(type));
}

/// As proto3 does, 0 and empty texts are left out.
inline void put_number(std::string& out, std::uint32_t number, std::uint64_t value) {
  if (value == 0) return;
  put_tag(out, number, Type::varint);
  put_varint(out, value);
}

/// A message, or a member of a list: there even when it is empty.
inline void put_bytes(std::string& out, std::uint32_t number, std::string_view bytes) {
  put_tag(out, number, Type::bytes);
  put_varint(out, bytes.size());
  out += bytes;
}

inline void put_text(std::string& out, std::uint32_t number, std::string_view text) {
  if (!text.empty()) put_bytes(out, number, text);
}

/// An entry of a map from texts to messages.
inline void put_entry(std::string& out, std::uint32_t number, std::string_view name, std::string_view message) {
  std::string entry;
  put_text(entry, 1, name);
  put_bytes(entry, 2, message);
  put_bytes(out, number, entry);
}

/// A packed list of whole numbers. As proto3 does, an empty one is left out.
inline void put_list(std::string& out, std::uint32_t number, const std::vector<std::int64_t>& values) {
  std::string list;
  for (const auto value : values) put_varint(list, static_cast<std::uint64_t>(value));
  put_text(out, number, list);
}

}  // namespace lathe::infer::wire
