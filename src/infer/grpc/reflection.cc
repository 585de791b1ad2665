#include "infer/grpc/reflection.h"

#include <map>
#include <vector>

#include "infer/grpc/wire.h"

namespace lathe::infer::grpc {
namespace {

constexpr std::uint64_t kNotFound = 5;  ///< gRPC's status
constexpr std::uint64_t kUnimplemented = 12;

/// The declared files by their names and by the full names of all that they declare.
struct Index {
  std::map<std::string, std::string_view, std::less<>> files;
  std::map<std::string, std::string_view, std::less<>> symbols;
  std::vector<std::string> services;
};

std::string_view text_of(std::string_view message, std::uint32_t number) {
  wire::Reader reader(message);
  wire::Field field;
  while (reader.next(field))
    if (field.number == number && field.type == wire::Type::bytes) return field.bytes;
  return {};
}

/// A message with the messages (3) and enumerations (4) in it.
void add_message(Index& index, const std::string& scope, std::string_view message, std::string_view file) {
  const auto name = scope + std::string(text_of(message, 1));
  index.symbols[name] = file;
  wire::Reader reader(message);
  wire::Field field;
  while (reader.next(field)) {
    if (field.number == 3) add_message(index, name + ".", field.bytes, file);
    if (field.number == 4) index.symbols[name + "." + std::string(text_of(field.bytes, 1))] = file;
  }
}

void add_service(Index& index, const std::string& scope, std::string_view service, std::string_view file) {
  const auto name = scope + std::string(text_of(service, 1));
  index.services.push_back(name);
  index.symbols[name] = file;
  wire::Reader reader(service);
  wire::Field field;
  while (reader.next(field))
    if (field.number == 2) index.symbols[name + "." + std::string(text_of(field.bytes, 1))] = file;
}

Index read_descriptors() {
  Index index;
  wire::Reader set(kDescriptors);
  wire::Field file;
  while (set.next(file)) {
    index.files[std::string(text_of(file.bytes, 1))] = file.bytes;
    const auto scope = std::string(text_of(file.bytes, 2)) + ".";
    wire::Reader reader(file.bytes);
    wire::Field field;
    while (reader.next(field)) {
      if (field.number == 4) add_message(index, scope, field.bytes, file.bytes);
      if (field.number == 5) index.symbols[scope + std::string(text_of(field.bytes, 1))] = file.bytes;
      if (field.number == 6) add_service(index, scope, field.bytes, file.bytes);
    }
  }
  return index;
}

void put_error(std::string& out, std::uint64_t code, std::string_view message) {
  std::string error;
  wire::put_number(error, 1, code);
  wire::put_text(error, 2, message);
  wire::put_bytes(out, 7, error);
}

void put_file(std::string& out, const std::map<std::string, std::string_view, std::less<>>& files,
              std::string_view name) {
  const auto found = files.find(name);
  if (found == files.end()) return put_error(out, kNotFound, "there is no such file or symbol here");
  std::string files_found;
  wire::put_bytes(files_found, 1, found->second);
  wire::put_bytes(out, 4, files_found);
}

}  // namespace

Result<std::string> reflect(std::string_view request) {
  static const Index kIndex = read_descriptors();
  wire::Reader reader(request);
  wire::Field field;
  wire::Field asked;
  while (reader.next(field))
    if (field.number >= 3 && field.number <= 7 && field.type == wire::Type::bytes) asked = field;
  if (!reader.good()) return fail(Code::invalid, "the message is not a ServerReflectionRequest");
  std::string out;
  wire::put_bytes(out, 2, request);
  switch (asked.number) {
    case 3:
      put_file(out, kIndex.files, asked.bytes);
      break;
    case 4:
      put_file(out, kIndex.symbols, asked.bytes);
      break;
    case 7: {
      std::string services;
      for (const auto& name : kIndex.services) {
        std::string service;
        wire::put_text(service, 1, name);
        wire::put_bytes(services, 1, service);
      }
      wire::put_bytes(out, 6, services);
      break;
    }
    default:
      put_error(out, kUnimplemented, "expected file_by_filename, file_containing_symbol or list_services");
  }
  return out;
}

}  // namespace lathe::infer::grpc
