// The same random writes and searches on SQLite and on PostgreSQL, which must answer the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "db/test_store.h"
#include "registry/registry.h"
#include "tracking/filter.h"
#include "tracking/history.h"
#include "tracking/lineage.h"
#include "tracking/search.h"

namespace lathe::registry {
namespace {

using tracking::Metric;
using tracking::View;

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

// What databases disagree on: case, accents, bytes against dictionaries, and each pattern character of either.
const std::vector<std::string> kTexts = {"a",  "A",    "b", "B",    "ab", "aB",   "a b",  "a-b", "a%b", "a_b",  "a\\b",
                                         "\\", "%",    "_", "*",    "?",  "[ab]", "ä",    "Ä",   "é",   "É",    "日本",
                                         "日", "it's", "",  "a\tb", "0",  "10",   "9",    "-0",  "NaN", "null", "İ",
                                         "ß",  "ẞ",    "😀", "\x7f", "$1", "''",   "a\"b", "{}",  "a,b"};
const std::vector<std::string> kKeys = {"k", "K", "key", "k.e-y_1", "a b", "loss", "acc"};
const std::vector<std::string> kPatterns = {"%",     "_",    "__",   "a%", "%a",   "A%", "%b%", "a_b", "a\\_b",
                                            "a\\%b", "%\\%", "[ab]", "*",  "?",    "ä",  "Ä%",  "_本", "%😀",
                                            "\\",    "\\\\", "%_%",  "",   "%''%", "a*", "É",   "ß"};
const std::vector<double> kValues = {0.0,
                                     -0.0,
                                     1.0,
                                     -1.0,
                                     0.1,
                                     1e308,
                                     -1e308,
                                     5e-324,
                                     9007199254740993.0,
                                     1.5,
                                     2.5,
                                     std::numeric_limits<double>::quiet_NaN(),
                                     std::numeric_limits<double>::infinity(),
                                     -std::numeric_limits<double>::infinity(),
                                     std::numeric_limits<double>::max()};
const std::vector<std::int64_t> kWholes = {0,         1,   2, -1, kMost, kMost - 1, kLeast, kLeast + 1, (1LL << 53) + 1,
                                           1LL << 53, 1000};
const std::vector<std::string> kNumbers = {"0",
                                           "1",
                                           "-1",
                                           "1.5",
                                           "-0.5",
                                           "1e3",
                                           "9007199254740993",
                                           "9223372036854775807",
                                           "1e19",
                                           "-1e19",
                                           "2",
                                           "1e308",
                                           "0.1",
                                           "-9223372036854775808"};

struct StoresAgree : ::testing::TestWithParam<unsigned> {
  db::TestStore stores[2] = {db::TestStore(db::Kind::sqlite), db::TestStore(db::Kind::postgres)};
  std::unique_ptr<db::Database> databases[2];
  std::mt19937 random{GetParam()};
  int made = 0;
  std::map<std::string, int> rows;  ///< found, by what was searched
  std::int64_t clock = 1'700'000'000'000'000;
  std::vector<std::string> runs;
  std::vector<std::string> logged_models[2];           ///< ids, which each store draws itself
  std::map<std::string, std::string> names_of_models;  ///< such an id -> "M3"

  void SetUp() override {
    for (int i = 0; i < 2; ++i) databases[i] = std::move(stores[i].open().value());
  }

  std::size_t up_to(std::size_t count) { return random() % count; }
  bool sometimes(unsigned one_in) { return random() % one_in == 0; }
  template <class T>
  T any(const std::vector<T>& of) {
    return of[up_to(of.size())];
  }
  Time tick() { return from_micros(clock += 1'000); }

  /// Does the same on both; the answers, or errors, must be the same. Returns whether it went well.
  template <class F>
  bool both(const std::string& what, F f) {
    std::string answers[2];
    bool good = true;
    for (int i = 0; i < 2; ++i) {
      const auto outcome = databases[i]->write([&](db::Connection& c) -> Result<std::string> { return f(c, i); });
      good = outcome.has_value();
      answers[i] = outcome
                       ? *outcome
                       : fmt::format("error {}: {}", static_cast<int>(outcome.error().code), outcome.error().message);
      for (const auto& [id, name] : names_of_models)
        for (auto at = answers[i].find(id); at != std::string::npos; at = answers[i].find(id))
          answers[i].replace(at, id.size(), name);
    }
    EXPECT_EQ(answers[0], answers[1]) << what;
    return good;
  }

  template <class T>
  static std::string shown(const std::vector<T>& tags) {
    std::string out;
    for (const auto& tag : tags) out += fmt::format("{}={}; ", tag.key, tag.value);
    return out;
  }
  static std::string shown(const Metric& m) {
    return fmt::format("{}={} at {} step {}; ", m.key, m.value, m.timestamp_ms, m.step);
  }
  static std::string shown(const tracking::Run& run) {
    auto out = fmt::format("run {} {} {} {} {} {} {} {}: ", run.info.run_id, run.info.experiment_id, run.info.run_name,
                           run.info.user, tracking::status_name(run.info.status), run.info.start_ms,
                           run.info.end_ms.value_or(-7), tracking::stage_name(run.info.stage));
    for (const auto& metric : run.metrics) out += shown(metric);
    for (const auto& param : run.params) out += fmt::format("{}={}; ", param.key, param.value);
    return out + shown(run.tags) + "\n";
  }
  static std::string shown(const tracking::Experiment& e) {
    return fmt::format("experiment {} {} {} {} {}: {}\n", e.id, e.name, tracking::stage_name(e.stage), e.created_us,
                       e.updated_us, shown(e.tags));
  }
  static std::string shown(const tracking::LoggedModel& m) {
    auto out = fmt::format("{} {} {} {} {} {} {}: ", m.model_id, m.experiment_id, m.name, m.status, m.model_type,
                           m.source_run_id, m.updated_ms);
    for (const auto& param : m.params) out += fmt::format("{}={}; ", param.key, param.value);
    for (const auto& point : m.metrics)
      out += shown(point.metric) + point.metric.dataset_name + " of " + point.run_id + "; ";
    return out + shown(m.tags) + "\n";
  }
  static std::string shown(const Model& m) {
    auto out = fmt::format("model {} {} {} {}: {}", m.name, m.description, m.created_us, m.updated_us, shown(m.tags));
    for (const auto& alias : m.aliases) out += fmt::format("@{}={}; ", alias.name, alias.version);
    return out + "\n";
  }
  static std::string shown(const Version& v) {
    auto out = fmt::format("version {} {} {} {} {} {} {}: {}", v.name, v.version, v.source, v.run_id, v.stage,
                           v.archived, v.updated_us, shown(v.tags));
    for (const auto& alias : v.aliases) out += "@" + alias + "; ";
    return out + "\n";
  }

  // --- random writes ---

  std::int64_t experiment() { return static_cast<std::int64_t>(up_to(6)); }
  Metric point() {
    return {any(kKeys),
            any(kValues),
            static_cast<std::int64_t>(up_to(3)) * (sometimes(9) ? kMost / 2 : 1),
            any(kWholes),
            {},
            {},
            {}};
  }
  std::vector<tracking::Tag> tags() {
    std::vector<tracking::Tag> out;
    for (auto count = up_to(3); count > 0; --count) out.push_back({any(kKeys), any(kTexts)});
    return out;
  }

  void write_experiment() {
    const auto id = experiment();
    const auto name = any(kTexts);
    const auto list = tags();
    const auto at = tick();
    switch (up_to(6)) {
      case 0:
      case 1:
        both("create_experiment " + name, [&](db::Connection& c, int) {
          return tracking::create_experiment(c, name, "", list, "ann", at).map([](auto made_id) {
            return std::to_string(made_id);
          });
        });
        break;
      case 2:
        both("rename", [&](db::Connection& c, int) { return done(tracking::rename_experiment(c, id, name, at)); });
        break;
      case 3:
        both("delete", [&](db::Connection& c, int) { return done(tracking::delete_experiment(c, id, at)); });
        break;
      case 4:
        both("restore", [&](db::Connection& c, int) { return done(tracking::restore_experiment(c, id, at)); });
        break;
      default:
        both("tag", [&](db::Connection& c, int) {
          return done(tracking::set_experiment_tag(c, id, {list.empty() ? "k" : list[0].key, name}, at));
        });
    }
  }

  static Result<std::string> done(Result<void> outcome) {
    if (!outcome) return fail(outcome.error());
    return std::string("done");
  }

  void write_run() {
    tracking::RunSpec spec{.run_id = fmt::format("run{}", made++),
                           .experiment_id = experiment(),
                           .run_name = any(kTexts),
                           .user = any(kTexts),
                           .created_by = "ann",
                           .start_ms = any(kWholes),
                           .tags = tags()};
    if (spec.run_name.empty()) spec.run_name = "unnamed";
    if (both("create_run", [&](db::Connection& c, int) -> Result<std::string> {
          LATHE_TRY(const auto run, tracking::create_run(c, spec));
          return fmt::format("{} {}", run.info.number, run.info.run_name);
        }))
      runs.push_back(spec.run_id);
  }

  /// One thing logged to a run, or done to it.
  void change_run() {
    if (runs.empty()) return;
    const auto id = any(runs);
    const auto beside = runs.front();
    std::vector<Metric> points;
    for (auto count = up_to(8); count > 0; --count) points.push_back(point());
    const auto kind = up_to(9);
    const auto key = any(kKeys);
    const auto text = any(kTexts);
    const auto whole = any(kWholes);
    const auto at = tick();
    both(fmt::format("change {} of {}", kind, id), [&](db::Connection& c, int) -> Result<std::string> {
      LATHE_TRY(const auto run, tracking::find_run(c, id));
      switch (kind) {
        case 0:
          return done(tracking::log_metrics(c, run, points));
        case 1:
        case 2: {
          const auto half = points.begin() + static_cast<std::ptrdiff_t>(points.size() / 2);
          tracking::PointsToLog first{id, {1, "ann", http::Role::member, {}}, {points.begin(), half}};
          tracking::PointsToLog second{beside, first.who, {half, points.end()}};
          const std::array<tracking::PointsToLog*, 2> together{&first, &second};
          LATHE_CHECK(tracking::log_together(c, together));
          LATHE_TRY(const auto one, done(first.outcome));
          LATHE_TRY(const auto two, done(second.outcome));
          return one + two;
        }
        case 3:
          return done(tracking::log_params(c, run, {{key, text}}));
        case 4:
          return done(tracking::set_tags(c, run, {{key, text}}));
        case 5:
          return done(tracking::delete_tag(c, run, key));
        case 6:
          return done(whole % 2 == 0 ? tracking::delete_run(c, run, at) : tracking::restore_run(c, run));
        case 7: {
          tracking::DatasetInput input{
              {text, "d" + std::to_string(std::abs(whole % 3)), "local", "file:" + text, {}, {}},
              {{"mlflow.data.context", key}}};
          return done(tracking::log_datasets(c, run, {input}));
        }
        default: {
          LATHE_TRY(const auto changed, tracking::update_run(c, run, {tracking::RunStatus::finished, whole, text}));
          return changed.run_name;
        }
      }
    });
  }

  void write_logged_model() {
    if (logged_models[0].empty() || sometimes(3)) {
      const tracking::LoggedModelSpec spec{experiment(),
                                           "m" + any(kKeys),
                                           any(kTexts),
                                           runs.empty() ? "" : any(runs),
                                           {{any(kKeys), any(kTexts)}},
                                           tags(),
                                           "ann"};
      const auto at = tick();
      std::string ids[2];
      const auto name = fmt::format("M{}", logged_models[0].size());
      if (both("create_logged_model",
               [&](db::Connection& c, int i) -> Result<std::string> {
                 if (spec.name.find_first_of(". ") != std::string::npos) return std::string("no");
                 LATHE_TRY(const auto model, tracking::create_logged_model(c, spec, at));
                 ids[i] = model.model_id;
                 names_of_models[ids[i]] = name;
                 return shown(model);
               }) &&
          !ids[0].empty())
        for (int i = 0; i < 2; ++i) logged_models[i].push_back(ids[i]);
      return;
    }
    const auto which = up_to(logged_models[0].size());
    auto measured = point();
    measured.dataset_name = any(std::vector<std::string>{"", "train", "Test"});
    const auto kind = up_to(8);
    const auto text = any(kTexts);
    const auto key = any(kKeys);
    const auto run = runs.empty() ? std::string("none") : any(runs);
    const auto at = tick();
    both("logged model", [&](db::Connection& c, int i) -> Result<std::string> {
      const auto& id = logged_models[i][which];
      switch (kind) {
        case 0:
          return done(tracking::finalize_logged_model(c, id, "LOGGED_MODEL_READY", at));
        case 1:
          return done(tracking::set_model_tags(c, id, {{key, text}}, at));
        case 2:
          return done(tracking::log_model_params(c, id, {{key, text}}));
        case 3:
          return done(tracking::delete_model_tag(c, id, key, at));
        default: {
          LATHE_TRY(const auto info, tracking::find_run(c, run));
          auto mine = measured;
          mine.model_id = id;
          return done(tracking::log_metrics(c, info, {mine}));
        }
      }
    });
  }

  void write_registry() {
    const auto name = any(kTexts);
    const auto other = any(kTexts);
    const auto key = any(kKeys);
    const auto kind = up_to(14);
    const auto at = tick();
    const auto number = sometimes(6) ? any(kWholes) : static_cast<std::int64_t>(1 + up_to(3));
    const auto asked = sometimes(5) ? std::optional{any(kWholes)} : std::nullopt;
    both(fmt::format("registry {} {} {}", kind, name, number), [&](db::Connection& c, int) -> Result<std::string> {
      switch (kind) {
        case 0:
          return done(create_model(c, name, other, {{key, other}}, "ann", at));
        case 1:
          return done(rename_model(c, name, other, at));
        case 2:
          return done(set_model_tag(c, name, {key, other}));
        case 3:
          return done(delete_model_tag(c, name, key));
        case 4:
          return done(set_version_tag(c, name, number, {key, other}));
        case 5:
          return done(move_to_stage(c, name, number, "production", number % 2 == 0, at));
        case 6:
          return done(set_alias(c, name, key, number));
        case 7:
          return done(delete_alias(c, name, key));
        case 8:
          return done(delete_version(c, name, number, at));
        case 9:
          return done(set_archived(c, name, number, number % 2 == 0, at));
        case 10:
          return done(number % 3 == 0 ? delete_model(c, name) : describe_model(c, name, other, at));
        default: {
          const VersionSpec spec{.name = name,
                                 .version = asked,
                                 .source = "s:" + other,
                                 .run_id = other,
                                 .description = key,
                                 .tags = {{key, other}},
                                 .created_by = "ann",
                                 .create_model = true};
          LATHE_TRY(const auto version, create_version(c, spec, at));
          return shown(version);
        }
      }
    });
  }

  // --- random searches ---

  static std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? "\\'" : std::string(1, c);
    return out + "'";
  }
  std::string text_comparison(const std::string& name, bool list) {
    switch (up_to(list ? 6 : 5)) {
      case 0:
        return name + " = " + quoted(any(kTexts));
      case 1:
        return name + " != " + quoted(any(kTexts));
      case 2:
        return name + " LIKE " + quoted(any(kPatterns));
      case 3:
      case 4:
        return name + " ILIKE " + quoted(any(kPatterns));
      default:
        return fmt::format("{} {} ({}, {})", name, sometimes(2) ? "IN" : "NOT IN", quoted(any(kTexts)),
                           quoted(any(kTexts)));
    }
  }
  std::string number_comparison(const std::string& name) {
    return name + " " + any(std::vector<std::string>{"=", "!=", "<", "<=", ">", ">="}) + " " + any(kNumbers);
  }
  std::string key() { return "`" + any(kKeys) + "`"; }
  template <class F>
  std::string filter(F comparison) {
    std::string out;
    for (auto count = up_to(4); count > 0; --count) out += (out.empty() ? "" : " AND ") + comparison();
    return out;
  }
  std::vector<std::string> order(const std::vector<std::string>& of) {
    std::vector<std::string> out;
    for (auto count = up_to(3); count > 0; --count)
      out.push_back(any(of) + any(std::vector<std::string>{"", " ASC", " DESC"}));
    return out;
  }

  std::string run_comparison() {
    switch (up_to(7)) {
      case 0:
      case 1:
        return number_comparison("metrics." + key());
      case 2:
        return text_comparison("params." + key(), false);
      case 3:
        return text_comparison("tags." + key(), false);
      case 4:
        return number_comparison(any(std::vector<std::string>{"start_time", "end_time"}));
      case 5:
        return text_comparison("datasets." + any(std::vector<std::string>{"name", "digest", "context"}), true);
      default:
        return text_comparison(any(std::vector<std::string>{"run_name", "user_id", "status", "run_id"}), false);
    }
  }

  /// All pages, one after the other.
  template <class Search, class F>
  void search_all(const std::string& of, Search search, F find) {
    both(fmt::format("{} search [{}]", of, search.filter), [&](db::Connection& c, int) -> Result<std::string> {
      std::string out;
      auto page_of = search;
      do {
        LATHE_TRY(const auto page, find(c, page_of));
        for (const auto& item : page.items) out += shown(item);
        rows[of] += static_cast<int>(page.items.size());
        out += "-- " + page.next + "\n";
        page_of.page_token = page.next;
      } while (!page_of.page_token.empty());
      return out;
    });
  }

  void search() {
    const std::vector<View> views = {View::active_only, View::deleted_only, View::all};
    const std::size_t limit = 1 + up_to(20);
    std::vector<std::int64_t> experiments;
    for (std::int64_t id = 0; id < 6; ++id)
      if (!sometimes(2)) experiments.push_back(id);
    if (sometimes(4)) experiments = {0};
    switch (up_to(6)) {
      case 0:
      case 1: {
        tracking::RunSearch asked{experiments, filter([&] { return run_comparison(); }), any(views), limit, {}, {}};
        asked.order_by = order(
            {"metrics." + key(), "params." + key(), "tags." + key(), "start_time", "end_time", "run_name", "user_id"});
        search_all("runs", asked, [](db::Connection& c, const auto& s) { return tracking::search_runs(c, s); });
        break;
      }
      case 2: {
        const auto comparison = [&] {
          return sometimes(2)   ? text_comparison("tags." + key(), false)
                 : sometimes(2) ? text_comparison("name", false)
                                : number_comparison("creation_time");
        };
        tracking::ExperimentSearch asked{
            filter(comparison), any(views), limit, order({"name", "creation_time", "experiment_id"}), {}};
        search_all("experiments", asked,
                   [](db::Connection& c, const auto& s) { return tracking::search_experiments(c, s); });
        break;
      }
      case 3: {
        const auto comparison = [&] {
          return sometimes(2) ? number_comparison("metrics." + key())
                              : text_comparison(any(std::vector<std::string>{"name", "status", "model_type",
                                                                             "params." + key(), "tags." + key()}),
                                                true);
        };
        tracking::ModelSearch asked{experiments, filter(comparison), limit, {}, {}, {}};
        if (sometimes(2))
          asked.order_by.push_back({"metrics." + any(kKeys), sometimes(2), sometimes(2) ? "train" : "", ""});
        if (sometimes(2))
          asked.order_by.push_back(
              {any(std::vector<std::string>{"name", "creation_timestamp", "model_type"}), sometimes(2), "", ""});
        if (sometimes(3)) asked.datasets.push_back({"Test", ""});
        search_all("logged_models", asked,
                   [](db::Connection& c, const auto& s) { return tracking::search_logged_models(c, s); });
        break;
      }
      case 4: {
        const auto comparison = [&] {
          return sometimes(2) ? text_comparison("tags." + key(), false) : text_comparison("name", false);
        };
        search_all("models", Search{filter(comparison), limit, order({"name", "timestamp"}), {}},
                   [](db::Connection& c, const auto& s) { return search_models(c, s); });
        break;
      }
      default: {
        const auto comparison = [&] {
          return sometimes(3) ? number_comparison("version_number")
                 : sometimes(2)
                     ? text_comparison("tags." + key(), false)
                     : text_comparison(any(std::vector<std::string>{"name", "source_path", "run_id"}), false);
        };
        search_all("versions",
                   Search{filter(comparison), limit, order({"name", "version_number", "creation_timestamp"}), {}},
                   [](db::Connection& c, const auto& s) { return search_versions(c, s); });
      }
    }
  }

  void read_one_run() {
    if (runs.empty()) return;
    const auto id = any(runs);
    const auto name = any(kKeys);
    both("history of " + id, [&](db::Connection& c, int) -> Result<std::string> {
      LATHE_TRY(const auto run, tracking::find_run(c, id));
      LATHE_TRY(const auto first, tracking::metric_history(c, run, name, 1, ""));
      LATHE_TRY(const auto rest, tracking::metric_history(c, run, name, 5, first.next));
      LATHE_TRY(const auto lineage, tracking::load_lineage(c, run));
      LATHE_TRY(const auto datasets, tracking::datasets_of(c, run.experiment_id));
      std::string out;
      for (const auto* page : {&first, &rest})
        for (const auto& each : page->points) out += fmt::format("{} {} {} ", each.timestamp_ms, each.step, each.value);
      for (const auto& input : lineage.datasets) out += input.dataset.name + shown(input.tags);
      for (const auto& summary : datasets) out += summary.digest + ", ";
      return out;
    });
  }
};

TEST_P(StoresAgree, OnWhatTheyKeepAndFind) {
  for (int i = 0; i < 600 && !HasFailure(); ++i) {
    switch (up_to(10)) {
      case 0:
        write_experiment();
        break;
      case 1:
        write_run();
        break;
      case 2:
      case 3:
      case 4:
        change_run();
        break;
      case 5:
        write_logged_model();
        break;
      case 6:
        write_registry();
        break;
      case 7:
        read_one_run();
        break;
      default:
        search();
        break;
    }
  }
  for (const auto* kind : {"runs", "experiments", "logged_models", "models", "versions"})
    EXPECT_GT(rows[kind], 0) << "nothing was ever found: these searches compare nothing";
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoresAgree, ::testing::Range(1u, 6u));

}  // namespace
}  // namespace lathe::registry
