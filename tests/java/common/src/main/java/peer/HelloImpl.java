package peer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.UnaryOperator;

/** Answers with what came, so that a caller can tell whether it went through unchanged. */
public class HelloImpl implements HelloService {
  private final Set<String> tokens = ConcurrentHashMap.newKeySet();
  private final String name;
  private final UnaryOperator<String> context;

  /** @param context answers {@link #context} by the means of the framework at hand */
  public HelloImpl(String name, UnaryOperator<String> context) {
    this.name = name;
    this.context = context;
  }

  public String name() {
    return name;
  }

  public String sayHello(String name) {
    return "Hello, " + name;
  }

  public Order placeOrder(Order order) {
    return order;
  }

  public void voidCall(String text) {}

  public String boom(String message) throws BizException {
    throw new BizException("E42", message);
  }

  public String runtimeBoom(String message) {
    throw new IllegalStateException(message);
  }

  public List<Order> listOrders(Map<String, Object> query) {
    return new ArrayList<>(Arrays.asList(Order.sample(false), Order.sample(true)));
  }

  public Types echoTypes(Types types) {
    return types;
  }

  public Map<String, Object> echoMap(Map<String, Object> map) {
    return map;
  }

  public byte[] echoBytes(byte[] bytes) {
    return bytes;
  }

  public String slow(int millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return "slept";
  }

  public String echoNull(String text) {
    return text;
  }

  public String context(String text) {
    return context.apply(text);
  }

  public long add(int a, long b) {
    return a + b;
  }

  public String tell(String token) {
    tokens.add(token);
    return token;
  }

  public boolean hasReceived(String token) {
    return tokens.contains(token);
  }
}
