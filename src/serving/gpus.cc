#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "serving/serving.h"

/// Which GPUs the workers of a deployment see: those that it reserves, as its jobs would.
namespace lathe::serving {
namespace {

using compute::GpuView;

json::Value text(const std::string& value) {
  return json::Value(boost::json::string_view(value));
}

json::Array wire(const std::vector<GpuView>& instances) {
  json::Array out;
  for (const auto& each : instances) {
    json::Object variables;
    for (const auto& [name, value] : each.variables) variables[name] = text(value);
    out.push_back(json::Object{{"numbers", json::Array(each.numbers.begin(), each.numbers.end())},
                               {"variables", std::move(variables)},
                               {"hidden", json::Array(each.hidden.begin(), each.hidden.end())}});
  }
  return out;
}

template <class Numbers>
void add_numbers(const Numbers& numbers, std::vector<int>& to) {
  for (const int number : numbers)
    if (std::find(to.begin(), to.end(), number) == to.end()) to.push_back(number);
}

std::string name_of(const json::Object& object) {
  const auto name = json::get_string(object, "name");
  return name && *name ? **name : std::string{};
}

json::Object* python_of(json::Object& deployment) {
  auto* model = deployment.if_contains("model");
  auto* python = model != nullptr && model->is_object() ? model->get_object().if_contains("python") : nullptr;
  return python != nullptr && python->is_object() ? &python->get_object() : nullptr;
}

/// Calls `visit` with the holder's name and each object of the list.
template <class Visit>
void each_deployment(json::Object& document, Visit visit) {
  auto* endpoints = document.if_contains("endpoints");
  if (endpoints == nullptr || !endpoints->is_array()) return;
  for (auto& endpoint : endpoints->get_array()) {
    if (!endpoint.is_object()) continue;
    auto* list = endpoint.get_object().if_contains("deployments");
    if (list == nullptr || !list->is_array()) continue;
    for (auto& one : list->get_array())
      if (one.is_object()) visit(name_of(endpoint.get_object()) + "/" + name_of(one.get_object()), one.get_object());
  }
}

/// What a document gives to the workers of each deployment.
compute::Compute::GpusUsed numbers_in(json::Object& document) {
  compute::Compute::GpusUsed out;
  each_deployment(document, [&](const std::string& holder, json::Object& deployment) {
    const auto* python = python_of(deployment);
    const auto* instances = python != nullptr ? python->if_contains("gpus") : nullptr;
    if (instances == nullptr || !instances->is_array()) return;
    for (const auto& each : instances->get_array()) {
      const auto* numbers = each.is_object() ? each.get_object().if_contains("numbers") : nullptr;
      if (numbers == nullptr || !numbers->is_array()) continue;
      std::vector<int> own;
      for (const auto& number : numbers->get_array())
        if (number.is_int64()) own.push_back(static_cast<int>(number.get_int64()));
      if (!own.empty()) add_numbers(own, out[holder]);
    }
  });
  return out;
}

}  // namespace

void Serving::remember_gpus() {
  const auto text = read_file(plane_.folder() / "desired.json");
  const auto document = text ? json::parse_object(*text) : Result<json::Object>(json::Object{});
  if (document) handed_over_ = *document;
  gpus_used_ = numbers_in(handed_over_);
  const auto report = read_file(plane_.folder() / "reported.json");
  const auto reported = report ? parse_reported(*report) : Result<Reported>(Reported{});
  if (reported)
    for (const auto& [holder, numbers] : reported->gpus) add_numbers(numbers, gpus_used_[holder]);
}

void Serving::add_gpus(json::Object& document) {
  std::map<std::string, json::Object> before;
  each_deployment(handed_over_, [&](const std::string& holder, json::Object& one) { before[holder] = one; });
  gpus_given_.clear();
  auto waiting = std::make_shared<std::set<std::string>>();
  each_deployment(document, [&](const std::string& holder, json::Object& one) {
    auto* const python = python_of(one);
    if (python == nullptr) return;
    const auto given = gpus_given_[holder] = compute_.gpus_of(holder);
    if (given && !given->empty()) {
      (*python)["gpus"] = wire(*given);
    } else if (!given) {
      waiting->insert(holder);
      const auto old = before.find(holder);
      one = old != before.end() ? old->second : json::Object{};  // what answers goes on
    }
  });
  for (auto& endpoint : document["endpoints"].as_array()) {
    auto& list = endpoint.as_object()["deployments"].as_array();
    list.erase(std::remove_if(list.begin(), list.end(), [](const auto& one) { return one.as_object().empty(); }),
               list.end());
  }
  for (const auto& [holder, numbers] : numbers_in(document)) add_numbers(numbers, gpus_used_[holder]);
  waiting_ = std::move(waiting);
}

bool Serving::waits(const Deployment& deployment) const {
  const auto waiting = waiting_.load();
  return waiting && waiting->contains(deployment.endpoint + "/" + deployment.name);
}

bool Serving::take_used(const Reported& reported) {
  const std::lock_guard lock(publishing_);
  const auto generation = json::get_int(handed_over_, "generation");
  if (gpus_used_.empty() || !generation || reported.shown < generation->value_or(0)) return false;
  auto used = numbers_in(handed_over_);
  for (const auto& [holder, numbers] : reported.gpus) add_numbers(numbers, used[holder]);
  if (used == gpus_used_) return false;
  gpus_used_ = std::move(used);
  return true;
}

bool Serving::follow_gpus() {
  std::vector<std::string> got;
  bool changed = false;
  {
    const std::lock_guard lock(publishing_);
    for (const auto& [holder, given] : gpus_given_) {
      const auto now_is = compute_.gpus_of(holder);
      changed = changed || now_is != given;
      if (!given && now_is) got.push_back(holder);
    }
  }
  if (!changed) return false;
  const auto committed = commit([&](db::Connection& c, std::int64_t generation) -> Result<void> {
    LATHE_TRY(auto open, unsettled_deployments(c));
    for (auto& deployment : open) {
      if (std::find(got.begin(), got.end(), deployment.endpoint + "/" + deployment.name) == got.end()) continue;
      deployment.generation = generation;  // what was reported of the time before is of what answered then
      LATHE_CHECK(serving::put_deployment(c, deployment));
    }
    return {};
  });
  if (!committed) log::error("deployments' GPUs cannot be handed over error=\"{}\"", committed.error().message);
  return !committed;
}

}  // namespace lathe::serving
