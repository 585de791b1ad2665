#include "serving/data_collector.h"

#include <algorithm>
#include <array>

#include "assets/asset.h"
#include "base/text.h"

namespace lathe::serving {
namespace {

constexpr std::array<std::string_view, 5> kRollingRates{"year", "month", "day", "hour", "minute"};
constexpr std::size_t kMostHeaders = 32;
constexpr std::size_t kLongestHeader = 128;

using Where = std::string;  ///< a field's path: "data_collector.sampling_rate"

Result<void> check_members(const json::Object& object, const Where& where, const std::vector<std::string>& known) {
  for (const auto& member : object) {
    const std::string key(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), key) == known.end())
      return fail(Code::invalid, where + "." + printable(key) + ": " + unknown_name("field", key, known));
  }
  return {};
}

Result<std::optional<double>> read_rate(const json::Object& object, const Where& where) {
  const auto rate = json::get_double(object, "sampling_rate");
  if (rate && (!*rate || (**rate >= 0 && **rate <= 1))) return *rate;
  return fail(Code::invalid, where + ".sampling_rate: must be a number from 0 to 1, not " +
                                 json::print(*json::find(object, "sampling_rate")));
}

/// Azure's files say 'True', too.
Result<bool> read_enabled(const json::Object& object, const Where& where) {
  const auto* value = json::find(object, "enabled");
  if (value == nullptr) return fail(Code::invalid, where + ".enabled: is missing: true or false");
  if (value->is_bool()) return value->get_bool();
  const auto text = value->is_string() ? to_lower(json::view(value->get_string())) : std::string{};
  if (text == "true" || text == "false") return text == "true";
  return fail(Code::invalid, where + ".enabled: must be true or false, not " + json::print(*value));
}

Result<void> read_data(const json::Object& object, const Where& where, CollectedData& data, json::Report& report) {
  LATHE_TRY(const auto* given, json::get_object(object, "data"));
  if (given == nullptr) return {};
  LATHE_CHECK(check_members(*given, where + ".data", {"name", "version", "path"}));
  LATHE_TRY(const auto name, json::get_string(*given, "name"));
  if (name) data.name = *name;
  if (const auto good = assets::check_name(data.name); !good) return fail_in(where + ".data", good.error());
  if (const auto* version = json::find(*given, "version"))
    data.version = version->is_string() ? std::string(json::view(version->get_string())) : json::print(*version);
  if (const auto good = assets::check_version(data.version); !good) return fail_in(where + ".data", good.error());
  if (json::find(*given, "path") != nullptr)
    report.push_back({where + ".data.path", "substituted", "by the deployment's own folder in the workspace's datastore"});
  return {};
}

Result<void> read_headers(const json::Object& field, DataCollector& collector) {
  const Where where = "data_collector.request_logging";
  LATHE_TRY(const auto* logging, json::get_object(field, "request_logging"));
  if (logging == nullptr) return {};
  LATHE_CHECK(check_members(*logging, where, {"capture_headers"}));
  LATHE_TRY(const auto* headers, json::get_array(*logging, "capture_headers"));
  if (headers == nullptr) return {};
  if (headers->size() > kMostHeaders)
    return fail(Code::invalid, where + ".capture_headers: holds more than " + std::to_string(kMostHeaders) + " names");
  for (const auto& each : *headers) {
    const auto name = each.is_string() ? to_lower(json::view(each.get_string())) : std::string{};
    const auto good = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; };
    if (name.empty() || name.size() > kLongestHeader || !std::all_of(name.begin(), name.end(), good))
      return fail(Code::invalid, where + ".capture_headers: must hold names of headers, not " + json::print(each));
    if (name == "authorization" || name == "cookie" || name == "proxy-authorization")
      return fail(Code::invalid, where + ".capture_headers: " + name + " holds a secret, which is not kept");
    collector.capture_headers.push_back(name);
  }
  return {};
}

}  // namespace

Result<std::optional<DataCollector>> read_data_collector(const json::Object& field, const std::string& endpoint,
                                                         const std::string& deployment, json::Report& report) {
  const Where where = "data_collector";
  LATHE_CHECK(check_members(field, where, {"collections", "sampling_rate", "rolling_rate", "request_logging"}));
  DataCollector out;
  LATHE_TRY(const auto rate, json::get_string(field, "rolling_rate"));
  if (rate) out.rolling_rate = to_lower(*rate);
  if (std::find(kRollingRates.begin(), kRollingRates.end(), out.rolling_rate) == kRollingRates.end())
    return fail(Code::invalid, where + ".rolling_rate: must be year, month, day, hour or minute, not \"" + printable(*rate) + "\"");
  LATHE_TRY(const auto of_all, read_rate(field, where));
  LATHE_CHECK(read_headers(field, out));
  LATHE_TRY(const auto* collections, json::get_object(field, "collections"));
  if (collections == nullptr)
    return fail(Code::invalid, where + ".collections: is missing: model_inputs and model_outputs, each with enabled: true");
  for (const auto& member : *collections) {
    const std::string name(member.key().data(), member.key().size());
    const auto path = where + ".collections." + printable(name);
    if (!member.value().is_object()) return fail(Code::invalid, path + ": must be an object such as {\"enabled\": true}");
    const auto& given = member.value().get_object();
    LATHE_CHECK(check_members(given, path, {"enabled", "sampling_rate", "data", "client_id"}));
    LATHE_TRY(const bool enabled, read_enabled(given, path));
    LATHE_TRY(const auto own_rate, read_rate(given, path));
    Collection collection{own_rate.value_or(of_all.value_or(1)), {endpoint + "-" + deployment + "-" + name, "1"}};
    const bool model = name == "model_inputs" || name == "model_outputs";
    if (!model && name != "request" && name != "response") {
      report.push_back({path, "ignored", "a scoring script would have to fill it: model_inputs and model_outputs are kept by themselves"});
      continue;
    }
    LATHE_CHECK(read_data(given, path, collection.data, report));
    if (json::find(given, "client_id") != nullptr) report.push_back({path + ".client_id", "ignored", "the data plane writes to this server's own disk"});
    if (!enabled || collection.sampling_rate == 0) continue;
    if (!model)
      report.push_back({path, "substituted", name == "request" ? "by what the model was asked, as model_inputs has it"
                                                               : "by what the model answered, as model_outputs has it"});
    out.collections.emplace(name, std::move(collection));
  }
  if (out.collections.empty()) return std::nullopt;
  return out;
}

std::string collection_path(const std::string& endpoint, const std::string& deployment, const std::string& collection) {
  return "modelDataCollector/" + endpoint + "/" + deployment + "/" + collection;
}

Result<void> register_collections(db::Connection& c, const DataCollector& collector, const std::string& endpoint,
                                  const std::string& deployment, const std::string& who) {
  for (const auto& [name, collection] : collector.collections) {
    assets::Asset asset;
    asset.name = collection.data.name;
    asset.version = collection.data.version;
    asset.type = "uri_folder";
    asset.path = "azureml://datastores/workspaceblobstore/paths/" + collection_path(endpoint, deployment, name);
    asset.description = "What was kept of the predictions of deployment " + deployment + " of endpoint " + endpoint;
    asset.creation_context.created_by = who;
    if (const auto made = assets::insert_asset(c, assets::Kind::data, asset); !made)
      return fail_in("data_collector.collections." + name + ".data", made.error());
  }
  return {};
}

json::Object desired_capture(const DataCollector& collector) {
  json::Array collections;
  for (const auto& [name, collection] : collector.collections)
    collections.push_back(json::Object{{"name", name}, {"sampling_rate", collection.sampling_rate}});
  json::Object out{{"collections", std::move(collections)}, {"rolling_rate", collector.rolling_rate}};
  if (!collector.capture_headers.empty()) out["headers"] = json::to_json(collector.capture_headers);
  return out;
}

}  // namespace lathe::serving
