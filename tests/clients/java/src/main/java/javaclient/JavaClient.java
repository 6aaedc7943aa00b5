package javaclient;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.ClientBuilder;
import io.etcd.jetcd.common.exception.EtcdException;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * Drives the server at BRAMBLE_ENDPOINT with jetcd. Prints a line per part and, indented, what it saw; all
 * of it must be equal on every server.
 */
final class JavaClient {
  static final String ENDPOINT = System.getenv("BRAMBLE_ENDPOINT");
  static final int WAIT_S = 30;

  private JavaClient() {}

  interface Part {
    void run(Client client) throws Exception;
  }

  public static void main(String[] arguments) {
    try (Client client = builder().build()) {
      part("keys and values", Keys::keysAndValues, client);
      part("transactions", Keys::transactions, client);
      part("leases", Keys::leases, client);
      part("watches", Keys::watches, client);
      part("namespace", Keys::namespace, client);
      part("locks", Services::locks, client);
      part("election", Services::election, client);
      part("maintenance and members", Services::maintenance, client);
      part("users and roles", Services::auth, client);
    }
    // Idle threads of the client's pools are no reason to stay.
    System.exit(0);
  }

  static void part(String name, Part part, Client client) {
    try {
      part.run(client);
      System.out.println("ok " + name);
    } catch (Exception | AssertionError error) {
      System.out.println("FAIL " + name + ": " + error);
      error.printStackTrace();
      System.exit(1);
    }
  }

  static ClientBuilder builder() {
    return Client.builder().endpoints(ENDPOINT);
  }

  static void saw(String what, Object seen) {
    System.out.println("  " + what + ": " + seen);
  }

  static void check(boolean claim, String otherwise) {
    if (!claim) {
      throw new AssertionError(otherwise);
    }
  }

  static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  static <T> T now(CompletableFuture<T> answer) throws Exception {
    return answer.get(WAIT_S, TimeUnit.SECONDS);
  }

  /** The error of a call that must fail. */
  static String refused(Callable<CompletableFuture<?>> call) throws Exception {
    try {
      now(call.call());
    } catch (ExecutionException error) {
      Throwable cause = error.getCause();
      String code = cause instanceof EtcdException refusal ? refusal.getErrorCode() + " " : "";
      return code + cause.getMessage();
    }
    throw new AssertionError("it was allowed");
  }
}
