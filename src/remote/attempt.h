#pragma once

#include <cstdint>
#include <string>

#include "remote/checkpoint.h"
#include "remote/connection.h"
#include "remote/fetch.h"
#include "remote/log_tail.h"
#include "remote/upload.h"

namespace lathe::remote {

/// Who and where we are.
struct Setting {
  Place server;
  std::string base;  ///< an existing folder of our own on this node; the attempt's goes there
  std::string host;
  int nodes = 1;  ///< of the allocation
  int node = 0;   ///< which of them this is
};

/// One attempt to run a job, on this node of its allocation: claims it, fetches what it needs, runs it under the shim's
/// supervision, reports, uploads what it leaves. docs/remote-protocol.md describes what goes over the wire.
class Attempt {
 public:
  explicit Attempt(Setting setting);

  /// Answers the exit status for this program: the command's own where there is one.
  int run();

 private:
  struct LogSent {
    LogSent() : tail("") {}
    explicit LogSent(std::string folder) : tail(std::move(folder)) {}
    LogTail tail;
    std::string unsent;      ///< read, not yet with the server
    std::uint64_t sent = 0;  ///< bytes that the server has
    bool refused = false;    ///< the server wants none of it
  };

  bool claim();
  bool prepare();
  bool fetch_all();
  bool make_environment();
  bool put_log_aside();
  bool wait_for_others();
  bool start();
  bool run_shim(const std::string& spec);
  void watch();
  void upload_outputs();
  bool upload_folder(const std::string& folder);
  bool upload_file(const std::string& path, const std::string& name);
  enum class Sent {
    well,     ///< the server has all of it
    more,     ///< it has that piece
    away,     ///< another time
    refused,  ///< `refusal_` says why
    changed   ///< the file is another one by now
  };
  Sent send_piece(Upload& file);
  Sent judged(const Answer& answer);
  bool keep_checkpoint();
  void send_checkpoint();
  bool send_change();
  std::string checkpoint_name(const Checkpoint::Change& change) const;
  std::string place_of(const std::string& name) const;
  void tell_end();

  bool ends() const;
  void beat();
  Answer report(std::size_t log = 0);
  void take_wish(const Answer& answer);
  void note_absence(const Answer& answer);
  void drain_logs(bool all);
  std::string here();
  void ask_shim_to_stop(std::int64_t grace_ms);
  std::string exit_record() const;
  void pause(std::int64_t ms);

  Setting setting_;
  Connection server_;
  std::string instance_;  ///< tells this process from another that was started for the same attempt
  std::string folder_;
  Manifest manifest_;
  const char* state_ = "preparing";  ///< what we report
  std::vector<LogSent> logs_;        ///< of the ranks
  std::string ports_;                ///< offered to the job
  std::size_t next_log_ = 0;         ///< whose turn it is
  std::int64_t next_beat_ms_ = 0;
  std::int64_t retry_ms_ = 0;  ///< the pause before another report; 0: the last one was answered
  std::int64_t retry_at_ms_ = 0;
  bool may_start_ = false;
  bool gone_ = false;          ///< the attempt is no longer ours: another one took its place
  std::int64_t stop_ms_ = -1;  ///< asked to stop, with this grace
  Checkpoint checkpoint_;
  std::optional<Checkpoint::Change> change_;  ///< being sent: a file's by `upload_`
  Upload upload_;
  std::int64_t next_checkpoint_ms_ = 0;  ///< the next look into the folder
  std::string refusal_;                  ///< why the server did not take what was sent last
  std::string failure_;                  ///< a sentence: the command was not started
  int shim_ = 0;
  int lock_ = -1;
};

/// The number after "key=" at the start of a line; `otherwise` when there is none.
std::int64_t number_in(const std::string& text, const std::string& key, std::int64_t otherwise);

/// Set by SIGTERM, which Slurm sends before it kills.
extern volatile int terminated;

}  // namespace lathe::remote
