package peer;

import static peer.Checks.equal;
import static peer.Checks.that;

import com.alipay.sofa.rpc.core.exception.RpcErrorType;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import com.alipay.sofa.rpc.core.exception.SofaTimeOutException;
import java.util.Locale;
import java.util.concurrent.TimeUnit;

/**
 * What a SOFA-RPC consumer makes of the statuses that the gateway itself answers with. Arguments:
 * pairs of a failure's name and the port behind which it happens.
 */
public final class SofaFailures {
  private static final Checks CHECKS = new Checks();

  private SofaFailures() {}

  public static void main(String[] arguments) {
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      failure(arguments[i], Integer.parseInt(arguments[i + 1]));
    }
    CHECKS.finish();
  }

  private static void failure(String name, int port) {
    HelloService hello = Consumers.hello(port);
    CHECKS.check(name, () -> {
      long begun = System.nanoTime();
      SofaRpcException thrown = Checks.thrown(SofaRpcException.class, () -> hello.slow(5_000));
      long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
      System.out.println("  " + name + " after " + took + " ms: " + thrown);
      that(took < Consumers.TIMEOUT_MS - 3_000, "it took " + took + " ms: the consumer waited for its own timeout");
      that(!says(thrown, "decod") && !says(thrown, "cast") && !says(thrown, "null pointer"),
          "the consumer could not read the answer: " + thrown);
      expect(name, thrown);
    });
  }

  private static void expect(String name, SofaRpcException thrown) {
    switch (name) {
      case "deadline":
        that(thrown instanceof SofaTimeOutException, "expected SofaTimeOutException, got " + thrown);
        break;
      case "busy":
        equal(RpcErrorType.SERVER_BUSY, thrown.getErrorType());
        break;
      case "no-upstream":
      case "no-route":
        that(!(thrown instanceof SofaTimeOutException), "a timeout: " + thrown);
        that(says(thrown, "NO_PROCESSOR"), "no word of a missing processor: " + thrown);
        break;
      case "refused":
      case "garbage":
      case "lost":
        that(!(thrown instanceof SofaTimeOutException), "a timeout: " + thrown);
        that(says(thrown, "ERROR_COMM"), "no word of a broken line: " + thrown);
        break;
      default:
        throw new AssertionError("no such failure: " + name);
    }
  }

  private static boolean says(Throwable thrown, String word) {
    for (Throwable it = thrown; it != null; it = it.getCause()) {
      if (it.toString().toLowerCase(Locale.ROOT).contains(word.toLowerCase(Locale.ROOT))) {
        return true;
      }
    }
    return false;
  }
}
