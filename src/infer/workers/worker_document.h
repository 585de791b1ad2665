#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json/fields.h"

namespace lathe::infer {

struct WorkerPlace {
  std::string source;
  std::string target;
};

struct WorkerImage {
  std::string root;
  std::vector<std::string> variables;  ///< NAME=VALUE, where the worker has no other
  std::string shim;
};

/// What lathe-infer tells the process that becomes a worker.
struct WorkerDocument {
  std::int64_t parent = 0;  ///< the process that it ends with
  std::vector<std::string> argv;
  std::vector<std::string> variables;  ///< NAME=VALUE: all of its environment
  std::string folder;                  ///< where it begins
  std::int64_t account = 0;            ///< user and group; 0: ours
  bool sandboxed = false;
  bool network = true;
  std::int64_t memory_bytes = 0;     ///< of its own; 0: no limit
  std::vector<WorkerPlace> binds;    ///< what it sees of the machine, read-only
  std::optional<WorkerImage> image;  ///< in place of the machine's own system
  bool gpus = true;
  std::vector<std::int64_t> hidden_gpus;  ///< minor numbers
};

}  // namespace lathe::infer

namespace lathe::json {

template <>
struct Fields<infer::WorkerPlace> {
  static constexpr std::string_view name = "WorkerPlace";
  static constexpr auto list =
      std::tuple{field("source", &infer::WorkerPlace::source), field("target", &infer::WorkerPlace::target)};
};

template <>
struct Fields<infer::WorkerImage> {
  static constexpr std::string_view name = "WorkerImage";
  static constexpr auto list =
      std::tuple{field("root", &infer::WorkerImage::root), field("variables", &infer::WorkerImage::variables),
                 field("shim", &infer::WorkerImage::shim)};
};

template <>
struct Fields<infer::WorkerDocument> {
  static constexpr std::string_view name = "WorkerDocument";
  using T = infer::WorkerDocument;
  static constexpr auto list = std::tuple{field("parent", &T::parent),       field("argv", &T::argv),
                                          field("variables", &T::variables), field("folder", &T::folder),
                                          field("account", &T::account),     field("sandboxed", &T::sandboxed),
                                          field("network", &T::network),     field("memory_bytes", &T::memory_bytes),
                                          field("binds", &T::binds),         field("gpus", &T::gpus),
                                          field("image", &T::image),         field("hidden_gpus", &T::hidden_gpus)};
};

}  // namespace lathe::json
