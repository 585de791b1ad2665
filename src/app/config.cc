#include "app/config.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>

#include "app/isolation.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "compute/policy.h"
#include "compute/sizes.h"
#include "db/postgres_place.h"
#include "jobs/disk_room.h"
#include "serving/data_plane.h"

namespace lathe::app {
namespace {

std::string upper_name(std::string_view name) {
  std::string out = "LATHE_";
  for (const char c : name) out.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return out;
}

std::string flag_name(std::string_view name) {
  std::string out = "--";
  for (const char c : name) out.push_back(c == '_' ? '-' : c);
  return out;
}

std::vector<std::string> setting_names() {
  std::vector<std::string> names;
  for (const auto& setting : settings()) names.emplace_back(setting.name);
  return names;
}

/// `small: {cores: 2, memory: 4GiB}` as the flag has it: "small=cores:2 memory:4GiB".
std::string sizes_text(const YAML::Node& sizes) {
  std::string out;
  for (const auto& size : sizes) {
    out += (out.empty() ? "" : ",") + size.first.as<std::string>() + "=";
    for (const auto& part : size.second) out += fmt::format("{}:{} ", part.first.as<std::string>(), part.second.as<std::string>());
  }
  return out;
}

/// `{alice: 2, "*": 4}` as the flag has it: "alice=2,*=4".
std::string pairs_text(const YAML::Node& pairs) {
  std::string out;
  for (const auto& pair : pairs)
    out += (out.empty() ? "" : ",") + pair.first.as<std::string>() + "=" + pair.second.as<std::string>();
  return out;
}

/// Settings that are NAME=VALUE, with commas between, where they are flags.
bool is_pairs(std::string_view name) {
  return name == "user_quotas" || name == "isolation_targets" || name == "slurm_nice" || name == "slurm_qos";
}

/// Reads "name: value" lines; lists become comma-separated, and maps as the flags have them. Errors name file and line.
Result<std::map<std::string, std::string>> read_config_file(const std::string& file) {
  LATHE_TRY(const auto text, read_file(file));
  std::map<std::string, std::string> out;
  try {
    const auto root = YAML::Load(text);
    if (root.IsNull()) return out;
    if (!root.IsMap()) return fail(Code::invalid, file + ": expected lines such as `port: 8080`");
    const auto names = setting_names();
    for (const auto& pair : root) {
      const auto line = pair.first.Mark().line + 1;
      const auto name = pair.first.as<std::string>();
      if (std::find(names.begin(), names.end(), name) == names.end())
        return fail(Code::invalid, fmt::format("{}:{}: {}", file, line, unknown_name("setting", name, names)));
      std::string value;
      if (pair.second.IsSequence()) {
        for (const auto& item : pair.second) value += (value.empty() ? "" : ",") + item.as<std::string>();
      } else if (pair.second.IsScalar()) {
        value = pair.second.as<std::string>();
      } else if (pair.second.IsMap() && name == "sizes") {
        value = sizes_text(pair.second);
      } else if (pair.second.IsMap() && is_pairs(name)) {
        value = pairs_text(pair.second);
      } else {
        return fail(Code::invalid, fmt::format("{}:{}: {} must be one value or a list of values", file, line, name));
      }
      out[name] = value;
    }
  } catch (const YAML::Exception& error) {
    return fail(Code::invalid, fmt::format("{}:{}: {}", file, error.mark.line + 1, error.msg));
  }
  return out;
}

bool is_port(std::string_view text) {
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

Result<void> check(std::string_view name, const std::string& value, const std::string& origin) {
  const auto wrong = [&](std::string_view expected) {
    return fail(Code::invalid, fmt::format("{} must be {}, not \"{}\" (from {})", name, expected, value, origin));
  };
  if ((name == "port" || name.ends_with("_port")) && !is_port(value)) return wrong("a port number from 0 to 65535");
  if (name == "store" && value != "sqlite" && !db::is_postgres(value))
    return fail(Code::invalid, fmt::format("store must be sqlite or postgresql://USER@HOST:PORT/DB (from {})", origin));
  if (name == "store" && value != "sqlite" && !db::is_readable_place(value))
    return fail(Code::invalid, fmt::format("store is no URI that PostgreSQL's library can read (from {}): is each special character in "
                                           "it percent-encoded?", origin));
  if (name == "store" && origin.starts_with("flag") && db::has_password(value))
    return fail(Code::invalid, "all users of this machine see the flags of a program: put the store's password into PGPASSWORD, "
                               "~/.pgpass or the configuration file, and leave it out of --store");
  if (name == "sizes")
    if (const auto sizes = compute::parse_sizes(value); !sizes) return fail(Code::invalid, fmt::format("{} (from {})", sizes.error().message, origin));
  if (name == "response_cache")
    if (const auto bytes = serving::parse_response_cache(value); !bytes)
      return fail(Code::invalid, fmt::format("response_cache {} (from {})", bytes.error().message, origin));
  if (name == "parked_interpreters") {
    constexpr std::size_t kMostDigits = 4;
    const bool digits = !value.empty() && value.size() <= kMostDigits && value.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::stoi(value) > 1024) return wrong("a number from 0 to 1024");
  }
  if (name == "data" && value.empty()) return wrong("a folder");
  if ((name == "auth") && value != "on" && value != "off") return wrong("on or off");
  const bool unitless = !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
  if (name == "deleted_retention" && value != "never" && (unitless || parse_duration(value).value_or(std::chrono::seconds{0}).count() <= 0))
    return wrong("never or a time with its unit, such as 30d");
  if (name == "job_metrics_interval" && value != "never" &&
      (unitless || parse_duration(value).value_or(std::chrono::seconds{0}).count() <= 0))
    return wrong("never or a time with its unit, such as 10s");
  if (name == "scheduling") {
    if (const auto policy = compute::policy_named(value); !policy) return wrong("fair, priority, backfill or fifo");
  }
  if (name == "user_quotas") {
    std::vector<std::string> parts;
    for (const auto part : split(value, ',')) parts.emplace_back(part);
    if (const auto quotas = compute::read_quotas(parts); !quotas)
      return fail(Code::invalid, fmt::format("user_quotas {} (from {})", quotas.error().message, origin));
  }
  if ((name == "slurm_poll" || name == "slurm_beat") && (parse_duration(value).value_or(std::chrono::seconds{0}).count() <= 0))
    return wrong("a time such as 10s");
  if (name == "slurm_url" && !value.empty() && !value.starts_with("http://") && !value.starts_with("https://"))
    return wrong("an address such as https://lathe.example.org:8080");
  if ((name == "slurm_scratch" || name == "slurm_environments") && !value.empty() && !value.starts_with('/'))
    return wrong("a folder's absolute path");
  if (name == "slurm_as_user" && value != "true" && value != "false") return wrong("true or false");
  if (name == "behind_proxy" && value != "true" && value != "false") return wrong("true or false");
  if (name == "artifacts_path_style" && value != "auto" && value != "true" && value != "false")
    return wrong("auto, true or false");
  if (name == "environment_index" && !value.empty() && value != "none" && value.find("://") == std::string::npos) return wrong("none or a URL");
  if (name == "environment_conda" && value != "auto" && value != "none" && !value.starts_with('/')) return wrong("auto, none or a program's path");
  if (name == "environment_images") {
    const auto program = std::filesystem::path(value);
    const auto kind = program.filename();
    if (value != "off" && ((kind != "podman" && kind != "apptainer") || (program.has_parent_path() && !program.is_absolute())))
      return wrong("off, podman, apptainer or the path of one");
  }
  if (name == "isolation" && value != "auto" && value != "sandbox" && value != "off") return wrong("auto, sandbox or off");
  if (name == "isolation_targets" && !parse_isolation_targets(value)) return wrong("TARGET=sandbox or TARGET=off, with commas between");
  if (name == "isolation_network" && value != "host" && value != "none") return wrong("host or none");
  if (name == "disk_low_water")
    if (const auto mark = jobs::parse_low_water(value); !mark) return fail(Code::invalid, fmt::format("disk_low_water {} (from {})", mark.error().message, origin));
  if (name == "inference_memory")
    if (const auto bytes = serving::parse_inference_memory(value); !bytes)
      return fail(Code::invalid, fmt::format("inference_memory {} (from {})", bytes.error().message, origin));
  if (name == "log_format" && value != "text" && value != "json") return wrong("text or json");
  if (name == "log_level" && value != "debug" && value != "info" && value != "warn" && value != "error")
    return wrong("debug, info, warn or error");
  return {};
}

}  // namespace

const std::vector<Setting>& settings() {
  static const std::vector<Setting> kSettings = {
      {"data", "", "folder that holds everything (default: $XDG_DATA_HOME/lathe, else ~/.local/share/lathe)"},
      {"store", "sqlite", "where records go: sqlite (in the data folder), or postgresql://USER@HOST:PORT/DB"},
      {"artifacts", "",
       "where artifacts go: s3://BUCKET/PREFIX, or a folder (default: the folder artifacts in the data folder)"},
      {"artifacts_endpoint", "",
       "an S3 server other than AWS: http://HOST:PORT (default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL)"},
      {"artifacts_region", "", "S3's region (default: AWS_REGION, the profile's, else us-east-1)"},
      {"artifacts_path_style", "auto",
       "true: the bucket goes into the path, not the host's name; auto: where an endpoint is given"},
      {"host", "127.0.0.1", "address to listen on; beyond loopback TLS is used"},
      {"port", "8080", "port of the API; 0 lets the system choose"},
      {"infer_port", "8081", "port of the predictions' REST API; 0 lets the system choose"},
      {"grpc_port", "8082", "port of the predictions' gRPC API; 0 lets the system choose"},
      {"inference_memory", "unlimited", "what native models may take together, such as 4GiB: the one not asked for longest leaves and comes back when it is"},
      {"parked_interpreters", "4", "Python processes that wait, with their modules imported, for the wake of deployments scaled to zero: of those asked last; 0: none"},
      {"response_cache", "128MiB", "what the answers that deployments keep (response_cache) may take together; 0: none are kept"},
      {"auth", "on", "off: everybody is the administrator (on loopback only)"},
      {"allowed_hosts", "", "host names that requests may name, beside this machine's own, with commas between"},
      {"behind_proxy", "false", "a proxy in front does TLS, so that plain HTTP is served beyond loopback"},
      {"tls_certificate", "", "certificate (PEM); beyond loopback one is made when none is given"},
      {"tls_key", "", "the certificate's key (PEM)"},
      {"sizes", "", "sizes of your own for nodes: NAME=cores:N memory:NGiB gpu:N, with commas between; a gpu of 0.5 is half of one"},
      {"deleted_retention", "never", "how long what is marked as deleted stays, such as 30d; then it goes for good"},
      {"environment_index", "", "where packages of environments come from: a URL, or none (default: what pip itself takes)"},
      {"environment_find_links", "", "folders and pages with wheels, with commas between: for places without an index"},
      {"environment_conda", "auto", "micromamba, mamba or conda for conda files: a program, or none; auto: what is in PATH"},
      {"environment_images", "off", "podman or apptainer (or its path): jobs run in their environments' images; off: on this machine's own system"},
      {"isolation", "auto", "sandbox: each job sees only its own; off; auto: where the server is not root and has several users"},
      {"isolation_targets", "", "other isolation on some compute targets: TARGET=sandbox or TARGET=off, with commas between"},
      {"isolation_network", "host", "of jobs in a sandbox: host, or none"},
      {"disk_low_water", "auto", "below so much free disk new jobs wait: 2GiB, 5%, 0; auto: 1 GiB, or 5% of a smaller disk"},
      {"job_metrics_interval", "10s", "how often what each running job uses is logged as system metrics, such as 10s; or never"},
      {"scheduling", "fair", "which job comes first: fair, priority, backfill or fifo"},
      {"user_quotas", "", "how many nodes jobs of a user may have at once, on all compute of this machine together: alice=2,*=4"},
      {"slurm", "off", "on: jobs may run on a Slurm cluster whose commands are here; or words in front of them: ssh login1"},
      {"slurm_url", "", "by which address the cluster's nodes reach this server (default: its own, with this machine's name)"},
      {"slurm_as_user", "false", "submit as the account with the user's name, by sudo, where sudo allows that"},
      {"slurm_scratch", "", "folder on each node for what jobs need (default: $SLURM_TMPDIR, $TMPDIR or /tmp there)"},
      {"slurm_environments", "", "folder where nodes keep environments, shared or each its own (default: in slurm_scratch)"},
      {"slurm_shared", "", "folders that nodes see under the same names, with commas between: inputs there are not sent"},
      {"slurm_nice", "low=1000", "added to Slurm's nice value by a job's priority or tier: low=1000,spot=5000"},
      {"slurm_qos", "", "Slurm's QOS by a job's tier or priority: premium=urgent,spot=scavenger"},
      {"slurm_poll", "3s", "time between looks at Slurm's queue"},
      {"slurm_beat", "10s", "time between signs of life of a job's nodes; four without one, and it may be lost"},
      {"log_level", "info", "debug, info, warn or error"},
      {"log_format", "text", "text or json"},
  };
  return kSettings;
}

std::filesystem::path default_data_folder(const char* (*environment)(const char*)) {
  if (const char* xdg = environment("XDG_DATA_HOME"); xdg != nullptr && *xdg == '/') return std::filesystem::path(xdg) / "lathe";
  const char* home = environment("HOME");
  return std::filesystem::path(home != nullptr && *home != '\0' ? home : "/") / ".local/share/lathe";
}

Result<Config> Config::load(const std::map<std::string, std::string>& flags, const char* (*environment)(const char*)) {
  std::string file;
  if (const auto given = flags.find("config"); given != flags.end()) file = given->second;
  else if (const char* named = environment("LATHE_CONFIG"); named != nullptr) file = named;

  std::map<std::string, std::string> from_file;
  if (!file.empty()) {
    LATHE_TRY(from_file, read_config_file(file));
  }

  Config config;
  for (const auto& setting : settings()) {
    const std::string name(setting.name);
    Value value{std::string(setting.fallback), "default"};
    if (name == "data") value.text = default_data_folder(environment).string();
    if (const auto found = from_file.find(name); found != from_file.end()) value = {found->second, "file " + file};
    if (const char* found = environment(upper_name(name).c_str()); found != nullptr)
      value = {found, "environment " + upper_name(name)};
    if (const auto found = flags.find(name); found != flags.end()) value = {found->second, "flag " + flag_name(name)};
    LATHE_CHECK(check(name, value.text, value.origin));
    config.values_[name] = std::move(value);
  }
  return config;
}

std::string Config::shown(std::string_view name) const { return name == "store" ? db::shown_place(text(name)) : text(name); }
const std::string& Config::text(std::string_view name) const { return values_.find(name)->second.text; }
const std::string& Config::origin(std::string_view name) const { return values_.find(name)->second.origin; }
bool Config::flag(std::string_view name) const { return text(name) == "true" || text(name) == "on"; }

std::chrono::seconds Config::interval(std::string_view name) const {
  return parse_duration(text(name)).value_or(std::chrono::seconds{0});
}

std::uint16_t Config::port(std::string_view name) const { return static_cast<std::uint16_t>(std::stoi(text(name))); }

std::vector<std::string> Config::list(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto part : split(text(name), ','))
    if (!trim(part).empty()) out.emplace_back(trim(part));
  return out;
}

std::filesystem::path Config::data() const { return std::filesystem::absolute(text("data")).lexically_normal(); }

}  // namespace lathe::app
