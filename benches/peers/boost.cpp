// Boost.Interprocess's queue of messages, for boost.rs. No exception gets out: what fails says so by its result.

#include <boost/interprocess/ipc/message_queue.hpp>

#include <cstddef>
#include <exception>
#include <iostream>

using boost::interprocess::create_only;
using boost::interprocess::message_queue;

namespace {

template <typename Work>
bool succeeds(Work work) noexcept {
    try {
        work();
        return true;
    } catch (const std::exception &error) {
        std::cerr << "Boost: " << error.what() << '\n';
        return false;
    }
}

} // namespace

extern "C" {

// A queue for this process and those it forks: the name is gone when this returns. Null if it fails.
message_queue *peers_boost_new(const char *name, std::size_t room, std::size_t size) noexcept {
    message_queue *queue = nullptr;
    succeeds([&] {
        message_queue::remove(name);
        queue = new message_queue(create_only, name, room, size);
        message_queue::remove(name);
    });
    return queue;
}

void peers_boost_drop(message_queue *queue) noexcept { delete queue; }

bool peers_boost_send(message_queue *queue, const void *message, std::size_t size) noexcept {
    return succeeds([&] { queue->send(message, size, 0); });
}

// Whether a message of just this size came.
bool peers_boost_receive(message_queue *queue, void *message, std::size_t size) noexcept {
    std::size_t received = 0;
    unsigned priority = 0;
    return succeeds([&] { queue->receive(message, size, received, priority); }) && received == size;
}
}
