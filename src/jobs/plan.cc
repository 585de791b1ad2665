#include "jobs/plan.h"

#include <fmt/format.h>

#include "base/text.h"
#include "jobs/expressions.h"

namespace lathe::jobs {
namespace {

bool is_url(const json::Value& reference) {
  if (!reference.is_string()) return false;
  const auto text = json::view(reference.get_string());
  return text.starts_with("http://") || text.starts_with("https://");
}

/// The last part of a URL's path, fit for a file's name.
std::string url_file_name(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  const auto last = url.substr(url.rfind('/') + 1);
  std::string out;
  for (const char c : url_decode(last))
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_') out.push_back(c);
  return out.empty() || out.starts_with('.') ? "file" : out;
}

/// What a document names and does not exist is the document's fault: not a 404 of what was asked.
Error in_field(const std::string& field, Error error) {
  if (error.code == Code::not_found) error.code = Code::invalid;
  error.message = field + ": " + error.message;
  return error;
}

}  // namespace

std::filesystem::path Places::input(const PlannedInput& input) const {
  const auto folder = work / "inputs" / input.name;
  if (input.url) return folder / url_file_name(*input.url);
  if (input.folder || !input.path) return folder;
  return folder / std::filesystem::path(*input.path).filename();
}

Result<std::string> fill_in(const std::string& text, const Plan& plan, const Places& places) {
  Bindings bindings;
  for (const auto& input : plan.inputs) bindings.inputs[input.name] = input.literal ? *input.literal : places.input(input).string();
  for (const auto& output : plan.outputs) bindings.outputs[output.name] = places.output(output.name).string();
  return substitute(text, bindings);
}

json::FieldReport missing_report(const std::string& modules) {
  return {"code", "missing", "its environment lacks Python modules that the code imports: " + modules};
}

Result<Plan> make_plan(const Asked& asked, const Resolvers& resolvers, const Caller& caller, bool elsewhere, json::Report& report) {
  Plan plan;
  plan.command = asked.command;
  plan.variables = asked.environment_variables;
  plan.timeout_s = asked.timeout_s;
  if (!asked.distribution.single()) plan.distribution = asked.distribution;
  if (asked.job_tier != "standard") plan.job_tier = asked.job_tier;
  if (asked.priority != "medium") plan.priority = asked.priority;
  for (const auto& output : asked.outputs) plan.outputs.push_back({output.name, output.type, output.asset_name, output.asset_version});
  for (const auto& input : asked.inputs) {
    const std::string field = "inputs." + input.name + ".path";
    PlannedInput planned;
    planned.name = input.name;
    planned.literal = input.literal;
    if (!input.literal) {
      if (input.reference.is_string()) planned.source = std::string(json::view(input.reference.get_string()));
      if (is_url(input.reference)) {
        if (input.type != "uri_file")
          return fail(Code::invalid, field + ": an http(s) URL is one file: set the input's type to uri_file");
        planned.url = planned.source;
      } else {
        auto resolved = resolvers.input(input.reference, input.type, caller);
        if (!resolved) return fail(in_field(field, resolved.error()));
        if (!resolved->note.empty()) report.push_back({field, "substituted", resolved->note});
        planned.path = resolved->path.string();
        planned.digest = resolved->digest;
        planned.folder = resolved->folder;
      }
    }
    plan.inputs.push_back(std::move(planned));
  }

  // Before anything runs: a command that names what is not there is refused now.
  const Places nowhere{"/"};
  if (auto filled = fill_in(plan.command, plan, nowhere); !filled) return fail(in_field("command", filled.error()));
  for (const auto& [name, value] : plan.variables)
    if (auto filled = fill_in(value, plan, nowhere); !filled) return fail(in_field("environment_variables." + name, filled.error()));

  auto environment = resolvers.environment(asked.environment, caller, elsewhere, report);
  if (!environment) return fail(in_field("environment", environment.error()));
  plan.environment = environment->words;
  plan.environment_digest = environment->digest;
  plan.environment_recipe = std::move(environment->recipe);
  if (!asked.code.is_null()) {
    auto code = resolvers.code(asked.code, caller);
    if (!code) return fail(in_field("code", code.error()));
    plan.code = *code;
    if (const auto missing = resolvers.missing_modules(plan); !missing.empty()) report.push_back(missing_report(missing));
  }
  return plan;
}

}  // namespace lathe::jobs
