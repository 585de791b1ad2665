#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/http.h"

namespace lathe::mlflow {

struct Pair {
  std::string key;
  std::string value;
};

/// The fields of one request, from its JSON body or, for GET, its query. Types are checked as they are read, with
/// MLflow's texts; fields that nobody asks for are ignored, as protobuf does. All errors are `invalid`.
class Message {
 public:
  static Result<Message> read(const http::Call& call);
  explicit Message(json::Object fields)
      : owned_(std::make_unique<const json::Object>(std::move(fields))), fields_(owned_.get()) {}

  bool has(std::string_view name) const { return json::find(*fields_, name) != nullptr; }
  /// Absent: empty. `experiment_id` may be a number, as clients before 1.0 send it.
  Result<std::string> text(std::string_view name) const;
  /// Absent or empty: "Missing value for required parameter 'name'."
  Result<std::string> need(std::string_view name) const;
  /// `run_id`, or its old name `run_uuid`.
  Result<std::string> run_id() const;
  Result<std::optional<std::int64_t>> integer(std::string_view name) const;
  /// Takes "NaN" and "Infinity" too.
  Result<std::optional<double>> number(std::string_view name) const;
  Result<bool> flag(std::string_view name, bool absent = false) const;
  Result<std::vector<std::string>> texts(std::string_view name) const;
  /// One of `names` by its place, counted from 1 as protobuf's enums here are: clients send the name or the number.
  Result<std::optional<std::size_t>> choice(std::string_view name, std::initializer_list<std::string_view> names) const;
  /// The objects of a list, each with its own path in error texts ("metrics[0].key"). They, and an `object`, are good
  /// while this message lives, and `name` too.
  Result<std::vector<Message>> list(std::string_view name) const;
  /// Absent: an empty one.
  Result<Message> object(std::string_view name) const;
  /// That the field is there, whatever it holds.
  Result<void> check_there(std::string_view name) const;
  /// A list of {"key", "value"}; the key must be there.
  Result<std::vector<Pair>> pairs(std::string_view name) const;

  const json::Object& fields() const { return *fields_; }
  /// Of the body that the message was read from.
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  Result<std::string> checked(std::string_view name, const json::Value& value) const;
  Error missing(std::string_view name) const;
  Error wrong(std::string_view name, const json::Value& value, std::string_view expected) const;

  /// One inside another.
  Message(const json::Object* fields, const Message& outer, std::string_view name,
          std::optional<std::size_t> index = {})
      : fields_(fields), outer_path_(outer.path()), name_(name), index_(index) {}
  /// "metrics[0]." inside a list. Put together for errors only.
  std::string path() const;

  std::unique_ptr<const json::Object> owned_;  ///< of the outermost
  const json::Object* fields_;
  std::size_t size_bytes_ = 0;
  std::string outer_path_;
  std::string_view name_;
  std::optional<std::size_t> index_;
};

}  // namespace lathe::mlflow
