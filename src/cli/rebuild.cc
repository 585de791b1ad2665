#include <fmt/format.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/exit_codes.h"
#include "cli/handlers.h"
#include "cli/session.h"
#include "json/yaml.h"

namespace lathe::cli {
namespace {

std::string text_in(const json::Value& value, const char* key) {
  const auto* object = value.if_object();
  if (object == nullptr) return "";
  const auto text = json::get_string(*object, key);
  return text && *text ? **text : "";
}

/// What the comparison needs to know from the flags.
Result<json::Object> compare_wish(const Session& session) {
  json::Object out{{"register", session.arguments.has("--register")}};
  if (const auto file = session.arguments.get("--request-file")) {
    LATHE_TRY(out["request"], read_file(*file));
    if (to_lower(*file).ends_with(".csv")) out["content_type"] = "text/csv";
  }
  if (const auto text = session.arguments.get("--tolerance")) {
    const auto value = json::plain_scalar(*text);
    if (!value.is_number())
      return fail(Code::invalid, fmt::format("--tolerance {}: expected a number, such as 1e-6", *text));
    out["tolerance"] = value;
  }
  return out;
}

/// For people: a line for each file, and the verdict.
void show(const json::Value& comparison) {
  const auto files = json::get_array(comparison.as_object(), "files");
  if (files && *files != nullptr)
    for (const auto& file : **files) fmt::print("  {:<24} {}\n", text_in(file, "path"), text_in(file, "verdict"));
  fmt::print("{}\n", text_in(comparison, "verdict"));
  if (const auto made = text_in(comparison, "registered"); !made.empty()) fmt::print("registered as {}\n", made);
}

}  // namespace

Result<int> run_model_rebuild(Session& session) {
  LATHE_TRY(json::Value wish, compare_wish(session));  // before anything runs
  LATHE_TRY(const auto path, version_path(session));
  LATHE_TRY(const auto model, session.call("GET", path));
  const auto name = text_in(model, "name");
  const auto version = text_in(model, "version");
  const auto rebuilds = fmt::format("/api/v1/models/{}/versions/{}/rebuilds", url_encode(name), url_encode(version));
  const bool for_people = !session.arguments.get("--output") && !session.arguments.get("--query");

  auto job = session.arguments.get_or("--job", "");
  if (job.empty()) {
    json::Value asked = json::Object{};
    if (const auto compute = session.arguments.get("--compute")) asked.as_object()["compute"] = *compute;
    LATHE_TRY(const auto submitted, session.call("POST", rebuilds, &asked));
    session.print_report(submitted);
    job = text_in(submitted, "name");
    Session::say(fmt::format("lathe: job {} rebuilds {}:{}", job, name, version));
    if (session.arguments.has("--no-wait")) {
      Session::say(
          fmt::format("lathe: `lathe model rebuild {}:{} --job {}` compares when it has ended", name, version, job));
      return session.print(submitted);
    }
    LATHE_TRY(const int followed, follow_job(session, job, for_people ? stdout : stderr));
    if (followed != 0) return followed;
  }
  LATHE_TRY(const auto comparison,
            session.call("POST", fmt::format("{}/{}/compare", rebuilds, url_encode(job)), &wish));
  if (for_people)
    show(comparison);
  else
    LATHE_CHECK(session.print(comparison));
  const auto equal = json::get_bool(comparison.as_object(), "equal");
  return equal && equal->value_or(false) ? 0 : kExitFailed;
}

}  // namespace lathe::cli
