#include "rebuild/rebuilds.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "serving/model_format.h"
#include "serving/serving.h"
#include "tracking/rebuild_tags.h"
#include "tracking/tracking.h"

namespace lathe::rebuild {
namespace {

constexpr std::chrono::seconds kAskLimit{600};
constexpr int kUnloadable = 422;

std::optional<std::string> tag_of(const tracking::Run& run, std::string_view key) {
  for (const auto& tag : run.tags)
    if (tag.key == key) return tag.value;
  return std::nullopt;
}

std::string error_of(const serving::Answer& answer) {
  const auto object = json::parse_object(answer.body);
  const auto text = object ? json::get_string(*object, "error") : fail(Code::internal, "");
  return text && *text ? **text : answer.body;
}

std::string rows_in_words(const std::string& rows) {
  if (rows == "request") return "the rows given";
  if (rows == "input_example") return "the model's own input example";
  if (rows == "check") return "the rows that the model is checked with";
  return "generated rows";
}

std::string count_of(const std::vector<ComparedFile>& files) {
  const auto same =
      std::count_if(files.begin(), files.end(), [](const auto& file) { return file.verdict.starts_with("same"); });
  return fmt::format("{} of {} files are the same", same, files.size());
}

void conclude(const Difference& difference, const Rebuilds::Wish& wish, Comparison& out) {
  out.values = difference.values;
  out.greatest_difference = difference.greatest;
  out.equal = difference.within(wish.tolerance);
  const auto of = fmt::format("{} predicted values for {}", difference.values, rows_in_words(out.rows));
  if (!difference.where.empty())
    out.verdict = fmt::format("not equal: of {}, the first that differs otherwise than as a number is at {}", of,
                              difference.where);
  else if (difference.greatest == 0)
    out.verdict = fmt::format("equal: {}, and none differs", of);
  else
    out.verdict = fmt::format("{}: of {}, the greatest difference is {:.3g} (tolerance {:g})",
                              out.equal ? "equal" : "not equal", of, difference.greatest, wish.tolerance);
}

}  // namespace

std::string name_of(const registry::Version& version) { return fmt::format("{}:{}", version.name, version.version); }

/// Where the model that the job made lies: as the job would have registered it, else where the original lies in its
/// run.
Result<std::string> Rebuilds::rebuilt_place(const registry::Version& version, const jobs::Job& job) {
  return db().read([&](db::Connection& c) -> Result<std::string> {
    LATHE_TRY(const auto run, tracking::load_run(c, job.name));
    if (tag_of(run, tracking::kRebuilds) != name_of(version))
      return fail(Code::invalid, fmt::format("the job {} does not rebuild {}", job.name, name_of(version)));
    if (job.state != jobs::State::completed)
      return fail(Code::conflict, fmt::format("the job {} is {}: there is nothing to compare{}", job.name,
                                              jobs::name_of(job.state), jobs::is_final(job.state) ? "" : " yet"));
    if (auto place = tag_of(run, tracking::kRebuilt)) return std::move(*place);
    const auto original = tracking::find_run(c, version.run_id);
    if (original && version.artifact_uri.starts_with(original->artifact_uri + "/"))
      return run.info.artifact_uri + version.artifact_uri.substr(original->artifact_uri.size());
    return fail(Code::conflict, fmt::format("the job {} registered no model named {}, as the one that it repeats did",
                                            job.name, version.name));
  });
}

/// Predictions of both, by the data plane's own code.
Result<void> Rebuilds::ask_both(const assets::ModelContent& original, const assets::ModelContent& rebuilt,
                                const Wish& wish, Comparison& out) {
  const auto& blobs = models_.assets().blobs();
  std::vector<serving::Spec> specs(2);
  const auto filled = serving::fill_model(blobs, original, specs[0]);
  auto same = filled ? serving::fill_model(blobs, rebuilt, specs[1]) : filled;
  if (same && (serving::is_python(specs[0].format) || serving::is_python(specs[1].format)))
    same = fail(Code::invalid, "only Python can read it");
  if (!same) {  // never unpickled here: their bytes have to do
    out.equal = all_same(out.files);
    out.verdict = fmt::format("{}: {}; predictions were not compared ({})",
                              out.equal ? "equal" : "not known to be equal", count_of(out.files), same.error().message);
    return {};
  }
  for (auto& spec : specs) spec.model_name = spec.model_version = "compared";

  LATHE_TRY(const auto tree, blobs.tree(original.tree));
  auto request = wish.request;
  out.rows = request ? "request" : "generated";
  if (!request)
    if (auto kept = kept_rows(blobs, tree)) {
      out.rows = kept->what;
      request = std::move(kept->request);
    }
  LATHE_TRY(auto answers, serving::ask_models(infer_, specs, request, kAskLimit));
  if (answers[0].status != 200 && answers[0].status != kUnloadable && request && !wish.request) {
    out.rows = "generated";
    LATHE_TRY(answers, serving::ask_models(infer_, specs, std::nullopt, kAskLimit));
  }
  if (answers[0].status != 200)
    return fail(Code::invalid,
                fmt::format("{} does not answer {}: {}", out.model, rows_in_words(out.rows), error_of(answers[0])));
  if (answers[1].status != 200) {
    out.verdict = fmt::format("not equal: the rebuilt model does not answer {}: {}", rows_in_words(out.rows),
                              error_of(answers[1]));
    return {};
  }
  LATHE_TRY(const auto before, json::parse(answers[0].body));
  LATHE_TRY(const auto after, json::parse(answers[1].body));
  conclude(compare_predictions(before, after), wish, out);
  return {};
}

Result<Comparison> Rebuilds::compare(const registry::Version& version, const std::string& job_name, const Wish& wish,
                                     const std::string& user) {
  LATHE_TRY(const auto job, db().read([&](db::Connection& c) { return jobs::find_job(c, job_name); }));
  LATHE_TRY(const auto place, rebuilt_place(version, job));
  LATHE_TRY(const auto original, models_.content(version));
  auto rebuilt = models_.content_at(place);
  if (!rebuilt && rebuilt.error().code == Code::not_found)
    return fail(Code::conflict, fmt::format("the job {} left no model at {}", job.name, place));
  if (!rebuilt) return fail(rebuilt.error());

  const auto& blobs = models_.assets().blobs();
  LATHE_TRY(const auto before, blobs.tree(original.tree));
  LATHE_TRY(const auto after, blobs.tree(rebuilt->tree));
  Comparison out;
  out.model = name_of(version);
  out.job = job.name;
  out.tolerance = wish.tolerance;
  out.files = compare_files(blobs, before, after);
  LATHE_CHECK(ask_both(original, *rebuilt, wish, out));
  out.verdict = fmt::format("{}, rebuilt by the job {}, is {}", out.model, out.job, out.verdict);
  if (!wish.register_equal || !out.equal) return out;

  registry::VersionSpec spec;
  spec.name = version.name;
  spec.source = spec.artifact_uri = place;
  spec.run_id = job.name;
  spec.description = version.description;
  spec.tags = {{std::string(tracking::kRebuilds), out.model}};
  spec.created_by = user;
  LATHE_TRY(const auto made, db().write([&](db::Connection& c) { return registry::create_version(c, spec, now()); }));
  out.registered = name_of(made);
  return out;
}

}  // namespace lathe::rebuild
