// The one file that compiles Boost.JSON's implementation.
#include <boost/json/src.hpp>
