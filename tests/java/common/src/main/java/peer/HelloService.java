package peer;

import java.util.List;
import java.util.Map;

/** What the provider offers: a method for each thing that may go wrong on the way. */
public interface HelloService {
  /** The name of the provider that answers. */
  String name();

  String sayHello(String name);

  Order placeOrder(Order order);

  void voidCall(String text);

  /** Answers with a declared exception. */
  String boom(String message) throws BizException;

  /** Answers with an undeclared exception. */
  String runtimeBoom(String message);

  List<Order> listOrders(Map<String, Object> query);

  Types echoTypes(Types types);

  Map<String, Object> echoMap(Map<String, Object> map);

  byte[] echoBytes(byte[] bytes);

  /** Answers "slept" after so many milliseconds. */
  String slow(int millis);

  String echoNull(String text);

  /** Answers with the baggage and the custom headers that came, and sends baggage back. */
  String context(String text);

  long add(int a, long b);

  /** Keeps the token, for {@link #hasReceived}. */
  String tell(String token);

  /** Whether {@link #tell} was called with that token: how a oneway call is seen to arrive. */
  boolean hasReceived(String token);
}
