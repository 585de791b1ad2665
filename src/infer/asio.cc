// Asio's compiled half, once for the program.
#include <boost/asio/impl/src.hpp>
