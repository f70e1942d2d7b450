// cpp: mtws.h in C++11. A unique_ptr owns the client, lambdas take the messages by their type, and
// errors are exceptions.
//
//     c++ -std=c++11 -O2 -o cpp cpp.cpp
//     ./cpp ws://127.0.0.1:9001/ one two three
//
// sends each argument to an echo server, and ends when all have come back.
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

class Connection {
  public:
    using Handler = std::function<void(const mtws_event &)>;

    explicit Connection(const mtws_options &options) {
        mtws_client *made = nullptr;
        check(mtws_create(&made, &options), "mtws_create");
        client_.reset(made);
    }
    Connection(const Connection &) = delete; // the slots have this object's address
    Connection &operator=(const Connection &) = delete;

    // Messages that are JSON objects with this "type"; of an empty type, all others.
    void on(const std::string &type, Handler handler) {
        Slot *slot = keep(std::move(handler));
        const char *name = type.empty() ? nullptr : type.c_str();
        check(mtws_on_message(client_.get(), name, call, slot), "mtws_on_message");
    }
    void on_state(Handler handler) {
        check(mtws_on_state(client_.get(), call, keep(std::move(handler))), "mtws_on_state");
    }

    void connect(const std::string &url) {
        check(mtws_connect(client_.get(), url.c_str(), nullptr), "mtws_connect");
    }
    std::uint64_t send(const std::string &text) {
        std::uint64_t id = 0;
        check(mtws_send(client_.get(), MTWS_TEXT, text.data(), text.size(), 0, &id), "mtws_send");
        return id;
    }
    void disconnect() { mtws_disconnect(client_.get(), 1000, nullptr); }

    // Until disconnected or failed. Throws what a handler has thrown; may be called again then.
    mtws_state run() {
        mtws_event event;
        while (mtws_poll(client_.get(), &event, -1) >= 0) {
            mtws_dispatch(client_.get(), &event);
            std::exception_ptr thrown;
            std::swap(thrown, thrown_);
            if (thrown) std::rethrow_exception(thrown);
            if (event.type == MTWS_EVENT_DROPPED)
                throw std::runtime_error(mtws_result_text(event.result));
        }
        return mtws_get_state(client_.get());
    }

  private:
    struct Destroy {
        void operator()(mtws_client *client) const { mtws_destroy(client); }
    };
    struct Slot {
        Connection *owner;
        Handler handler;
    };

    Slot *keep(Handler handler) {
        slots_.push_back(Slot{this, std::move(handler)}); // a list: addresses stay
        return &slots_.back();
    }

    // The header may be compiled as C: no exception may pass through it, so it waits for run().
    static void call(mtws_client *, const mtws_event *event, void *user) noexcept {
        Slot *slot = static_cast<Slot *>(user);
        try {
            slot->handler(*event);
        } catch (...) {
            slot->owner->thrown_ = std::current_exception();
        }
    }

    static void check(mtws_result result, const char *what) {
        if (result != MTWS_OK)
            throw std::runtime_error(std::string(what) + ": " + mtws_result_text(result));
    }

    std::list<Slot> slots_;
    std::exception_ptr thrown_;
    std::unique_ptr<mtws_client, Destroy> client_; // last, so that it goes first
};

static std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (char c : text) {
        char escaped[8];
        bool control = static_cast<unsigned char>(c) < 0x20;
        if (control) std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
        if (c == '"' || c == '\\') out += '\\';
        if (control) out += escaped;
        else out += c;
    }
    return out + '"';
}

static bool chat(const char *url, int count, char **texts) {
    mtws_options options = mtws_options();
    options.max_reconnect_attempts = MTWS_UNLIMITED;
    Connection connection(options);
    int returned = 0;
    connection.on_state([](const mtws_event &change) {
        std::cout << mtws_state_name(change.state) << ' ' << change.reason << std::endl;
    });
    connection.on("chat", [&](const mtws_event &message) {
        std::cout << std::string(message.data, message.data + message.size) << std::endl;
        if (++returned == count) connection.disconnect();
    });
    connection.on("", [](const mtws_event &message) {
        std::cout << "another kind of message, " << message.size << " bytes" << std::endl;
    });
    connection.connect(url);
    for (int i = 0; i < count; i++)
        connection.send("{\"type\":\"chat\",\"text\":" + quoted(texts[i]) + "}");
    return connection.run() == MTWS_STATE_DISCONNECTED && returned >= count;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        std::cerr << "usage: cpp URL TEXT..." << std::endl;
        return 2;
    }
    try {
        return chat(argv[1], argc - 2, argv + 2) ? 0 : 1;
    } catch (const std::exception &error) {
        std::cerr << "cpp: " << error.what() << std::endl;
        return 1;
    }
}
