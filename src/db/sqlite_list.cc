// The table lathe_list($n): the values of a list argument, read where they lie. This is how `x = ANY($n)` is run.
#include <sqlite3.h>

#include "db/sqlite.h"

namespace lathe::db {
namespace {

constexpr int kValue = 0;
constexpr int kList = 1;  ///< the hidden column that stands for the table's argument

struct Cursor : sqlite3_vtab_cursor {
  const Argument* list = nullptr;
  std::size_t at = 0;
  std::size_t size = 0;
};

int connect(sqlite3* db, void*, int, const char* const*, sqlite3_vtab** table, char**) {
  const int rc = sqlite3_declare_vtab(db, "CREATE TABLE x (value, list HIDDEN)");
  if (rc != SQLITE_OK) return rc;
  *table = new sqlite3_vtab{};
  return SQLITE_OK;
}

int disconnect(sqlite3_vtab* table) {
  delete table;
  return SQLITE_OK;
}

int best_index(sqlite3_vtab*, sqlite3_index_info* info) {
  for (int i = 0; i < info->nConstraint; ++i) {
    const auto& constraint = info->aConstraint[i];
    if (constraint.iColumn != kList || constraint.op != SQLITE_INDEX_CONSTRAINT_EQ || constraint.usable == 0) continue;
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    info->estimatedCost = 100;
    info->estimatedRows = 100;
    return SQLITE_OK;
  }
  return SQLITE_CONSTRAINT;
}

int open(sqlite3_vtab*, sqlite3_vtab_cursor** cursor) {
  *cursor = new Cursor{};
  return SQLITE_OK;
}

int close(sqlite3_vtab_cursor* cursor) {
  delete static_cast<Cursor*>(cursor);
  return SQLITE_OK;
}

int filter(sqlite3_vtab_cursor* base, int, const char*, int, sqlite3_value** values) {
  auto* cursor = static_cast<Cursor*>(base);
  cursor->list = static_cast<const Argument*>(sqlite3_value_pointer(values[0], kListType));
  cursor->at = 0;
  cursor->size = 0;
  if (cursor->list == nullptr) return SQLITE_OK;
  if (const auto* numbers = std::get_if<Integers>(cursor->list)) cursor->size = numbers->size();
  if (const auto* texts = std::get_if<Texts>(cursor->list)) cursor->size = texts->size();
  return SQLITE_OK;
}

int next(sqlite3_vtab_cursor* cursor) {
  ++static_cast<Cursor*>(cursor)->at;
  return SQLITE_OK;
}

int ended(sqlite3_vtab_cursor* base) {
  const auto* cursor = static_cast<Cursor*>(base);
  return cursor->at >= cursor->size ? 1 : 0;
}

int column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
  const auto* cursor = static_cast<Cursor*>(base);
  if (column != kValue) return SQLITE_OK;
  if (const auto* numbers = std::get_if<Integers>(cursor->list)) {
    sqlite3_result_int64(context, (*numbers)[cursor->at]);
  } else {
    const auto text = std::get<Texts>(*cursor->list)[cursor->at];
    sqlite3_result_text64(context, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  return SQLITE_OK;
}

int row_id(sqlite3_vtab_cursor* cursor, sqlite3_int64* id) {
  *id = static_cast<sqlite3_int64>(static_cast<Cursor*>(cursor)->at);
  return SQLITE_OK;
}

const sqlite3_module& module() {
  static const sqlite3_module made = [] {
    sqlite3_module out{};
    out.xConnect = connect;  // and no xCreate: the table is simply there
    out.xDisconnect = disconnect;
    out.xBestIndex = best_index;
    out.xOpen = open;
    out.xClose = close;
    out.xFilter = filter;
    out.xNext = next;
    out.xEof = ended;
    out.xColumn = column;
    out.xRowid = row_id;
    return out;
  }();
  return made;
}

}  // namespace

int register_list(sqlite3* db) { return sqlite3_create_module(db, "lathe_list", &module(), nullptr); }

}  // namespace lathe::db
