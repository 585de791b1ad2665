#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "db/db.h"
#include "json/fields.h"
#include "json/report.h"

/// What of a deployment's predictions is kept as data (Azure ML's data_collector).
namespace lathe::serving {

/// A data asset that a collection's files are.
struct CollectedData {
  std::string name;
  std::string version = "1";
};

struct Collection {
  double sampling_rate = 1;  ///< of the predictions
  CollectedData data;
};

struct DataCollector {
  std::map<std::string, Collection> collections;  ///< those that are enabled
  std::string rolling_rate = "hour";
  std::vector<std::string> capture_headers;  ///< of requests; in small letters
};

/// Reads a deployment's field; nullopt: nothing is enabled. Errors: `invalid`, naming the member.
Result<std::optional<DataCollector>> read_data_collector(const json::Object& field, const std::string& endpoint,
                                                         const std::string& deployment, json::Report& report);

/// Registers the data assets, whose folders need not exist. On the writer. Errors: `conflict` — the name is other data's.
Result<void> register_collections(db::Connection& c, const DataCollector& collector, const std::string& endpoint,
                                  const std::string& deployment, const std::string& who);

/// The folder of a collection's files in the workspace's datastore, with '/'.
std::string collection_path(const std::string& endpoint, const std::string& deployment, const std::string& collection);

/// As the data plane's document has it.
json::Object desired_capture(const DataCollector& collector);

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::CollectedData> {
  static constexpr std::string_view name = "CollectedData";
  static constexpr auto list = std::tuple{field("name", &serving::CollectedData::name, "of the data asset"),
                                          field("version", &serving::CollectedData::version)};
};

template <>
struct Fields<serving::Collection> {
  static constexpr std::string_view name = "DataCollection";
  static constexpr auto list =
      std::tuple{field("sampling_rate", &serving::Collection::sampling_rate, "of the predictions, from 0 to 1"),
                 field("data", &serving::Collection::data)};
};

template <>
struct Fields<serving::DataCollector> {
  static constexpr std::string_view name = "DataCollector";
  using T = serving::DataCollector;
  static constexpr auto list =
      std::tuple{field("collections", &T::collections, "model_inputs, model_outputs, request, response"),
                 field("rolling_rate", &T::rolling_rate, "of the folders: year, month, day, hour, minute"),
                 field("capture_headers", &T::capture_headers, "of requests, that are kept")};
};

}  // namespace lathe::json
