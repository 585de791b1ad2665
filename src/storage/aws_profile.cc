#include "storage/aws_profile.h"

#include <fmt/format.h>

#include <map>

#include "base/file.h"
#include "base/text.h"

namespace lathe::storage {
namespace {

namespace fs = std::filesystem;
using Environment = const char* (*)(const char*);
using Section = std::map<std::string, std::string, std::less<>>;

std::string variable(Environment environment, const char* name) {
  const char* value = environment(name);
  return value != nullptr ? value : "";
}

fs::path aws_file(Environment environment, const char* name, const char* fallback) {
  if (auto named = variable(environment, name); !named.empty()) return named;
  return fs::path(variable(environment, "HOME")) / ".aws" / fallback;
}

/// The "name = value" lines below "[header]". Indented lines belong to another value. No such file: nothing.
Section read_section(const fs::path& file, const std::string& header) {
  Section out;
  const auto text = read_file(file);
  if (!text) return out;
  bool inside = false;
  for (const auto line : split(*text, '\n')) {
    const auto trimmed = trim(line);
    if (trimmed.empty() || trimmed.starts_with('#') || trimmed.starts_with(';')) continue;
    if (trimmed.starts_with('[')) {
      inside = trim(trimmed.substr(1, trimmed.find(']') - 1)) == header;
      continue;
    }
    const auto equals = trimmed.find('=');
    if (!inside || line.front() == ' ' || line.front() == '\t' || equals == std::string_view::npos) continue;
    out[to_lower(trim(trimmed.substr(0, equals)))] = std::string(trim(trimmed.substr(equals + 1)));
  }
  return out;
}

std::string first_of(std::initializer_list<std::string> texts) {
  for (const auto& text : texts)
    if (!text.empty()) return text;
  return {};
}

std::string value_of(const Section& section, std::string_view name) {
  const auto found = section.find(name);
  return found != section.end() ? found->second : "";
}

/// Ways to get credentials that we do not follow.
std::string foreign_way(const Section& section) {
  for (const auto* name : {"role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file"})
    if (section.contains(name)) return name;
  return {};
}

Result<void> check_complete(const AwsProfile& profile) {
  if (profile.credentials.access_key.empty() == profile.credentials.secret_key.empty()) return {};
  return fail(Code::invalid,
              fmt::format("{} gives only half of the S3 credentials: an access key id and a secret access "
                          "key go together",
                          profile.origin));
}

}  // namespace

Result<AwsProfile> aws_profile(Environment environment) {
  const auto named = variable(environment, "AWS_PROFILE");
  const auto name = named.empty() ? std::string("default") : named;
  const auto credentials_file = aws_file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
  const auto config_file = aws_file(environment, "AWS_CONFIG_FILE", "config");
  const auto keys = read_section(credentials_file, name);
  const auto config = read_section(config_file, name == "default" ? name : "profile " + name);

  AwsProfile out;
  out.region = first_of({variable(environment, "AWS_REGION"), variable(environment, "AWS_DEFAULT_REGION"),
                         value_of(config, "region"), value_of(keys, "region")});
  out.endpoint = first_of({variable(environment, "AWS_ENDPOINT_URL_S3"), variable(environment, "AWS_ENDPOINT_URL"),
                           value_of(config, "endpoint_url"), value_of(keys, "endpoint_url")});
  out.ca_bundle = first_of({variable(environment, "AWS_CA_BUNDLE"), value_of(config, "ca_bundle")});

  out.credentials = {variable(environment, "AWS_ACCESS_KEY_ID"), variable(environment, "AWS_SECRET_ACCESS_KEY"),
                     variable(environment, "AWS_SESSION_TOKEN")};
  if (!out.credentials.access_key.empty() || !out.credentials.secret_key.empty()) {
    out.origin = "the environment";
    LATHE_CHECK(check_complete(out));
    return out;
  }
  out.files = {credentials_file, config_file};
  for (const auto& [file, section] : {std::pair{credentials_file, keys}, std::pair{config_file, config}}) {
    out.origin = fmt::format("the profile \"{}\" in {}", name, file.string());
    out.credentials = {value_of(section, "aws_access_key_id"), value_of(section, "aws_secret_access_key"),
                       value_of(section, "aws_session_token")};
    LATHE_CHECK(check_complete(out));
    if (!out.credentials.access_key.empty()) return out;
  }
  if (const auto way = first_of({foreign_way(config), foreign_way(keys)}); !way.empty())
    return fail(Code::invalid,
                fmt::format("the profile \"{}\" gets its credentials by {}, which Lathe does not follow: "
                            "put a key into {}, or into the environment",
                            name, way, credentials_file.string()));
  return fail(Code::invalid,
              fmt::format("there are no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                          "write the profile \"{}\" into {}",
                          name, credentials_file.string()));
}

CredentialsOf::CredentialsOf(AwsProfile profile, Environment environment)
    : environment_(environment), profile_(std::move(profile)), seen_(times()) {}

std::vector<fs::file_time_type> CredentialsOf::times() const {
  std::vector<fs::file_time_type> out;
  std::error_code ignored;
  for (const auto& file : profile_.files) out.push_back(fs::last_write_time(file, ignored));
  return out;
}

Credentials CredentialsOf::now() {
  const std::lock_guard lock(mutex_);
  if (auto fresh = times(); fresh != seen_) {
    seen_ = std::move(fresh);
    if (const auto read = aws_profile(environment_)) profile_.credentials = read->credentials;
  }
  return profile_.credentials;
}

}  // namespace lathe::storage
