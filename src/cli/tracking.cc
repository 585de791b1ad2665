#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"
#include "cli/handlers.h"
#include "cli/session.h"
#include "cli/set_path.h"

/// Experiments and runs by MLflow's REST, whose answers wrap what they hold.
namespace lathe::cli {
namespace {

const json::Value kNothing = json::Array{};

const json::Value& member(const json::Value& answer, std::string_view path) {
  const auto* found = find_field(answer, path);
  return found != nullptr ? *found : kNothing;
}

Result<json::Value> experiment_by_name(Session& session, const std::string& name) {
  LATHE_TRY(const auto answer,
            session.call("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=" + url_encode(name)));
  return member(answer, "experiment");
}

constexpr std::size_t kRunsAtOnce = 1000;  ///< of a list without --max-results, and of one answer

struct Found {
  json::Array items;
  bool more = false;
};
/// What a search by MLflow's REST finds, page by page, up to `most`. `list`: the answer's member.
Result<Found> search(Session& session, std::string_view path, json::Object body, std::string_view list,
                     std::size_t most) {
  Found out;
  for (;;) {
    body["max_results"] = std::min(most - out.items.size(), kRunsAtOnce);
    const json::Value asked = body;
    LATHE_TRY(const auto answer, session.call("POST", std::string(path), &asked));
    const auto& items = member(answer, list);
    if (items.is_array())
      for (const auto& item : items.get_array()) out.items.push_back(item);
    const auto* next = find_field(answer, "next_page_token");
    out.more = next != nullptr && next->is_string() && !next->get_string().empty();
    if (!out.more || out.items.size() >= most) return out;
    body["page_token"] = *next;
  }
}

/// The ids of all experiments; of the deleted ones too where `view` is not ACTIVE_ONLY.
Result<json::Array> all_experiments(Session& session, std::string_view view) {
  const json::Object body{{"view_type", view == "ACTIVE_ONLY" ? "ACTIVE_ONLY" : "ALL"}};
  LATHE_TRY(const auto found, search(session, "/api/2.0/mlflow/experiments/search", body, "experiments", SIZE_MAX));
  json::Array ids;
  for (const auto& experiment : found.items) ids.push_back(member(experiment, "experiment_id"));
  return ids;
}

std::string_view view_of(const Session& session) {
  return session.arguments.has("--deleted") ? "DELETED_ONLY" : "ACTIVE_ONLY";
}

/// The one run of this name, deleted or not. Errors: `not_found`, also when there are several.
Result<json::Value> run_by_name(Session& session, const std::string& name) {
  const auto filter = name.find('\'') == std::string::npos ? fmt::format("attributes.run_name = '{}'", name)
                                                           : fmt::format("attributes.run_name = \"{}\"", name);
  LATHE_TRY(auto ids, all_experiments(session, "ALL"));
  const json::Object body{{"experiment_ids", std::move(ids)}, {"filter", filter}, {"run_view_type", "ALL"}};
  constexpr std::size_t kMostNamed = 5;
  LATHE_TRY(auto found, search(session, "/api/2.0/mlflow/runs/search", body, "runs", kMostNamed));
  if (found.items.size() == 1) return std::move(found.items[0]);
  if (found.items.empty())
    return fail(
        Code::not_found,
        fmt::format("there is no run with the id or the name \"{}\"; `lathe run list` shows them", printable(name)));
  std::vector<std::string_view> those;
  for (const auto& run : found.items)
    if (const auto& id = member(run, "info.run_id"); id.is_string()) those.push_back(json::view(id.get_string()));
  return fail(Code::not_found, fmt::format("several runs have the name \"{}\": name one by its id: {}{}",
                                           printable(name), fmt::join(those, ", "), found.more ? ", ..." : ""));
}

}  // namespace

Result<int> run_experiment_list(Session& session) {
  LATHE_TRY(const auto most, max_results(session, SIZE_MAX));
  LATHE_TRY(auto found, search(session, session.verb.path, {{"view_type", view_of(session)}}, "experiments", most));
  return session.print(json::Value(std::move(found.items)), session.group.columns);
}

Result<int> run_experiment_show(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  LATHE_TRY(const auto experiment, experiment_by_name(session, name));
  return session.print(experiment);
}

Result<int> run_run_list(Session& session) {
  LATHE_TRY(const auto most, max_results(session, kRunsAtOnce));
  json::Array ids;
  if (const auto name = session.arguments.get("--experiment-name")) {
    LATHE_TRY(const auto experiment, experiment_by_name(session, *name));
    ids.push_back(member(experiment, "experiment_id"));
  } else {
    LATHE_TRY(ids, all_experiments(session, view_of(session)));
  }
  json::Array order;
  for (const auto& text : session.arguments.all("--order-by"))
    order.push_back(json::Value(boost::json::string_view(text)));
  json::Object body{{"experiment_ids", std::move(ids)},
                    {"filter", session.arguments.get_or("--filter", "")},
                    {"order_by", std::move(order)},
                    {"run_view_type", view_of(session)}};
  LATHE_TRY(auto found, search(session, session.verb.path, std::move(body), "runs", most));
  if (found.more && !session.arguments.has("--max-results"))
    Session::say(fmt::format("lathe: the first {} runs; there are more: --max-results N", most));
  return session.print(json::Value(std::move(found.items)), session.group.columns);
}

Result<int> run_run_show(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  const auto answer = session.call("GET", fmt::format("{}?run_id={}", session.verb.path, url_encode(name)));
  if (answer) return session.print(member(*answer, "run"));
  const bool no_id = answer.error().code == Code::not_found || answer.error().code == Code::invalid;
  if (!no_id) return fail(answer.error());
  LATHE_TRY(const auto run, run_by_name(session, name));
  return session.print(run);
}

}  // namespace lathe::cli
