#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assets/blobs.h"
#include "json/fields.h"
#include "serving/ask.h"

/// Two models side by side.
namespace lathe::rebuild {

/// Libraries that sum floats on several threads do not always sum them in the same order.
constexpr double kTolerance = 1e-6;

struct ComparedFile {
  std::string path;
  std::string verdict;                  ///< same, same but for run and time, differs, missing, new
  std::optional<std::string> original;  ///< SHA-256
  std::optional<std::string> rebuilt;
};

/// File by file, by digest. What an MLmodel says of its run and of the time is no difference.
std::vector<ComparedFile> compare_files(const assets::BlobStore& blobs, const assets::Tree& original,
                                        const assets::Tree& rebuilt);
bool all_same(const std::vector<ComparedFile>& files);

struct Difference {
  std::int64_t values = 0;  ///< that were compared
  double greatest = 0;      ///< between two numbers: absolute below 1, relative above
  std::string where;        ///< of what cannot be measured, such as a label or a shape: its place; empty: nothing

  bool within(double tolerance) const { return where.empty() && greatest <= tolerance; }
};

/// Two predictions as the data plane answers them, of MLflow's form or the Open Inference Protocol's.
Difference compare_predictions(const json::Value& original, const json::Value& rebuilt);

/// Rows that are kept beside a model, as a request, and what they are: input_example, or check (of the native form).
struct KeptRows {
  std::string what;
  serving::Request request;
};
std::optional<KeptRows> kept_rows(const assets::BlobStore& blobs, const assets::Tree& model);

}  // namespace lathe::rebuild

namespace lathe::json {

template <>
struct Fields<rebuild::ComparedFile> {
  static constexpr std::string_view name = "ComparedFile";
  using T = rebuild::ComparedFile;
  static constexpr auto list = std::tuple{
      field("path", &T::path), field("verdict", &T::verdict, "same, same but for run and time, differs, missing, new"),
      field("original", &T::original, "SHA-256"), field("rebuilt", &T::rebuilt, "SHA-256")};
};

}  // namespace lathe::json
