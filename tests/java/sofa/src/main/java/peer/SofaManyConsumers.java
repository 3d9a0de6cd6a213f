package peer;

import static peer.Checks.equal;
import static peer.Checks.that;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Many threads call over few connections at once, and each checks that the answer is its own.
 * Arguments: port, threads, calls per thread.
 */
public final class SofaManyConsumers {
  private SofaManyConsumers() {}

  public static void main(String[] arguments) {
    int port = Integer.parseInt(arguments[0]);
    int threads = Integer.parseInt(arguments[1]);
    int calls = Integer.parseInt(arguments[2]);
    long seed = Long.getLong("seed", System.nanoTime());
    System.out.println("seed " + seed + " (again with -Dseed=" + seed + ")");
    Checks checks = new Checks();
    checks.check(threads + " threads make " + calls + " calls each", () -> {
      HelloService hello = Consumers.hello(port);
      equal("Hello, warm", hello.sayHello("warm"));
      ExecutorService pool = Executors.newFixedThreadPool(threads);
      AtomicInteger answered = new AtomicInteger();
      List<Future<?>> ends = new ArrayList<>();
      for (int thread = 0; thread < threads; thread++) {
        int number = thread;
        ends.add(pool.submit(() -> calls(hello, number, calls, new Random(seed + number), answered)));
      }
      for (Future<?> end : ends) {
        end.get(240, TimeUnit.SECONDS);
      }
      equal(threads * calls, answered.get());
    });
    checks.finish();
  }

  private static void calls(HelloService hello, int thread, int calls, Random random, AtomicInteger answered) {
    long process = ProcessHandle.current().pid();
    for (int call = 0; call < calls; call++) {
      String name = process + "/" + thread + "/" + call;
      switch (random.nextInt(8)) {
        case 0:
          // Some answers are late, so that they come in another order than the requests went.
          equal("slept", hello.slow(random.nextInt(5)));
          break;
        case 1:
          byte[] bytes = new byte[random.nextInt(100_000)];
          random.nextBytes(bytes);
          equal(bytes, hello.echoBytes(bytes));
          break;
        case 2:
          equal((long) thread + call, hello.add(thread, call));
          break;
        default:
          String answer = hello.sayHello(name);
          that(answer.equals("Hello, " + name), "asked as " + name + ", got " + answer);
          break;
      }
      answered.incrementAndGet();
    }
  }
}
