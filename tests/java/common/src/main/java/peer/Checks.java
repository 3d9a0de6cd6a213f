package peer;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;

/** Checks with names: each prints a line, and the process fails when one of them did. */
public final class Checks {
  private final List<String> failures = new ArrayList<>();
  private int passed;

  /** Something that is to go without an exception. */
  public interface Body {
    void run() throws Throwable;
  }

  /** Runs one check and prints how it went. */
  public void check(String name, Body body) {
    try {
      body.run();
      passed++;
      System.out.println("ok " + name);
    } catch (Throwable e) {
      String what = (e.getClass() == AssertionError.class ? "" : e.getClass().getName() + ": ") + e.getMessage();
      failures.add(name);
      System.out.println("FAILED " + name + ": " + what.replace('\n', ' '));
      for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) {
        System.out.println("  because " + cause);
      }
    }
  }

  /** Prints the sum and ends the process: 0 when all passed, else 1. */
  public void finish() {
    System.out.println(passed + " passed, " + failures.size() + " failed" + (failures.isEmpty() ? "" : ": " + failures));
    System.out.flush();
    // Libraries leave threads behind that are no daemons.
    Runtime.getRuntime().halt(failures.isEmpty() ? 0 : 1);
  }

  public static void that(boolean holds, String otherwise) {
    if (!holds) {
      throw new AssertionError(otherwise);
    }
  }

  /** Equal by value, whatever the depth; see {@link Same}. */
  public static void equal(Object expected, Object actual) {
    String difference = Same.difference(expected, actual);
    that(difference == null, difference);
  }

  /** The exception that the call ends with. */
  public static <E extends Throwable> E thrown(Class<E> kind, Callable<?> call) {
    Object answer;
    try {
      answer = call.call();
    } catch (Throwable e) {
      if (kind.isInstance(e)) {
        return kind.cast(e);
      }
      throw new AssertionError("expected " + kind.getName() + ", got " + e, e);
    }
    throw new AssertionError("expected " + kind.getName() + ", got the answer " + Objects.toString(answer));
  }

  /** Asks again and again until it holds, at most ten seconds. */
  public static void eventually(String what, Callable<Boolean> condition) throws Exception {
    long end = System.nanoTime() + 10_000_000_000L;
    while (!condition.call()) {
      that(System.nanoTime() < end, "after 10 s still not: " + what);
      java.util.concurrent.locks.LockSupport.parkNanos(5_000_000);
    }
  }
}
