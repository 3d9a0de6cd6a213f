package peer;

import static peer.Checks.equal;
import static peer.Checks.that;
import static peer.Checks.thrown;

import com.alipay.hessian.generic.model.GenericObject;
import com.alipay.sofa.rpc.api.GenericService;
import com.alipay.sofa.rpc.api.future.SofaResponseFuture;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import com.alipay.sofa.rpc.core.exception.SofaTimeOutException;
import com.alipay.sofa.rpc.core.invoke.SofaResponseCallback;
import com.alipay.sofa.rpc.core.request.RequestBase;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Every way in which a SOFA-RPC consumer calls. Arguments: port. */
public final class SofaConsumer {
  private static final Checks CHECKS = new Checks();

  private SofaConsumer() {}

  public static void main(String[] arguments) {
    int port = Integer.parseInt(arguments[0]);
    sync(port);
    values(port);
    sizes(port);
    futures(port);
    callbacks(port);
    oneway(port);
    generic(port);
    baggage(port);
    custom(port, arguments.length > 1 ? arguments[1] : "main");
    exceptions(port);
    serializations(port);
    CHECKS.finish();
  }

  private static void sync(int port) {
    HelloService hello = Consumers.hello(port);
    CHECKS.check("sync", () -> equal("Hello, world", hello.sayHello("world")));
    CHECKS.check("sync: text beyond the basic plane",
        () -> equal("Hello, \u5f20\u4e09 \u00e9 \ud83d\ude80", hello.sayHello("\u5f20\u4e09 \u00e9 \ud83d\ude80")));
    CHECKS.check("sync: null", () -> equal(null, hello.echoNull(null)));
    CHECKS.check("sync: empty", () -> equal("Hello, ", hello.sayHello("")));
    CHECKS.check("sync: void", () -> hello.voidCall("x"));
    CHECKS.check("sync: numbers", () -> equal((1L << 40) - 1, hello.add(-1, 1L << 40)));
    HelloService second = Consumers.<HelloService>at(port).setUniqueId("v2").refer();
    CHECKS.check("sync: unique id", () -> equal("Hello, v2", second.sayHello("v2")));
  }

  private static void values(int port) {
    HelloService hello = Consumers.hello(port);
    CHECKS.check("values: object", () -> equal(Order.sample(true), hello.placeOrder(Order.sample(true))));
    CHECKS.check("values: list of objects",
        () -> equal(Arrays.asList(Order.sample(false), Order.sample(true)), hello.listOrders(new LinkedHashMap<>())));
    CHECKS.check("values: every type, with a cycle", () -> {
      Types types = hello.echoTypes(Types.sample());
      that(types.self == types, "the cycle is gone");
      equal(Types.sample(), types);
    });
    CHECKS.check("values: map", () -> {
      Map<String, Object> map = new LinkedHashMap<>();
      map.put("int", 1);
      map.put("long", 2L);
      map.put("double", 1.25);
      map.put("null", null);
      map.put("list", new ArrayList<>(Arrays.asList(1, 2)));
      map.put("order", Order.sample(false));
      equal(map, hello.echoMap(map));
    });
  }

  private static void sizes(int port) {
    HelloService hello = Consumers.hello(port);
    for (int bytes : new int[] {9_000, 65_536, 1 << 20, 5 << 20}) {
      CHECKS.check("sizes: " + bytes + " bytes", () -> equal(pattern(bytes), hello.echoBytes(pattern(bytes))));
    }
    CHECKS.check("sizes: 20000 letters", () -> equal("Hello, " + letters('x', 20_000), hello.sayHello(letters('x', 20_000))));
    CHECKS.check("sizes: 40000 CJK letters",
        () -> equal("Hello, " + letters('\u4e2d', 40_000), hello.sayHello(letters('\u4e2d', 40_000))));
    CHECKS.check("sizes: 1 MiB of letters",
        () -> equal("Hello, " + letters('y', 1 << 20), hello.sayHello(letters('y', 1 << 20))));
  }

  private static void futures(int port) {
    HelloService hello = Consumers.<HelloService>at(port).setInvokeType("future").refer();
    CHECKS.check("future", () -> {
      hello.sayHello("future");
      equal("Hello, future", SofaResponseFuture.getResponse(Consumers.TIMEOUT_MS, true));
    });
    CHECKS.check("future: answers come out of order", () -> {
      hello.slow(300);
      Future<?> slow = SofaResponseFuture.getFuture(true);
      List<Future<?>> quick = new ArrayList<>();
      for (int i = 0; i < 20; i++) {
        hello.sayHello("quick " + i);
        quick.add(SofaResponseFuture.getFuture(true));
      }
      for (int i = 0; i < 20; i++) {
        equal("Hello, quick " + i, quick.get(i).get(Consumers.TIMEOUT_MS, TimeUnit.MILLISECONDS));
      }
      equal("slept", slow.get(Consumers.TIMEOUT_MS, TimeUnit.MILLISECONDS));
    });
  }

  private static void callbacks(int port) {
    BlockingQueue<Object> got = new ArrayBlockingQueue<>(8);
    HelloService hello = Consumers.<HelloService>at(port).setInvokeType("callback").setOnReturn(new SofaResponseCallback<Object>() {
      @Override
      public void onAppResponse(Object answer, String method, RequestBase request) {
        got.add(answer);
      }

      @Override
      public void onAppException(Throwable thrown, String method, RequestBase request) {
        got.add(thrown);
      }

      @Override
      public void onSofaException(SofaRpcException thrown, String method, RequestBase request) {
        got.add(thrown);
      }
    }).refer();
    CHECKS.check("callback", () -> {
      hello.sayHello("callback");
      equal("Hello, callback", got.poll(15, TimeUnit.SECONDS));
    });
    CHECKS.check("callback: business exception", () -> {
      hello.boom("called back");
      Object thrown = got.poll(15, TimeUnit.SECONDS);
      that(thrown instanceof BizException, "expected BizException, got " + thrown);
      equal("called back", ((BizException) thrown).getMessage());
    });
  }

  private static void oneway(int port) {
    HelloService oneway = Consumers.<HelloService>at(port).setInvokeType("oneway").refer();
    HelloService sync = Consumers.hello(port);
    CHECKS.check("oneway", () -> {
      String token = "oneway-" + System.nanoTime();
      equal(null, oneway.tell(token));
      Checks.eventually("the provider has received the oneway call", () -> sync.hasReceived(token));
    });
    CHECKS.check("oneway: many between calls with answers", () -> {
      String token = "many-" + System.nanoTime() + "-";
      for (int i = 0; i < 100; i++) {
        oneway.tell(token + i);
        equal("Hello, between " + i, sync.sayHello("between " + i));
      }
      for (int i = 0; i < 100; i++) {
        String each = token + i;
        Checks.eventually("the provider has received oneway call " + each, () -> sync.hasReceived(each));
      }
    });
  }

  private static void generic(int port) {
    GenericService generic = Consumers.<GenericService>at(port).setGeneric(true).refer();
    String[] text = {"java.lang.String"};
    CHECKS.check("generic: $invoke", () -> equal("Hello, gen", generic.$invoke("sayHello", text, new Object[] {"gen"})));
    GenericObject item = new GenericObject(Item.class.getName());
    item.putField("sku", "G");
    item.putField("qty", 1);
    GenericObject order = new GenericObject(Order.class.getName());
    order.putField("id", 9L);
    order.putField("owner", "gen");
    order.putField("items", new ArrayList<>(Arrays.asList(item)));
    String[] types = {Order.class.getName()};
    CHECKS.check("generic: $genericInvoke gives a generic object", () -> {
      GenericObject answer = (GenericObject) generic.$genericInvoke("placeOrder", types, new Object[] {order});
      equal(Order.class.getName(), answer.getType());
      equal(9L, answer.getField("id"));
      equal("gen", answer.getField("owner"));
    });
    CHECKS.check("generic: $genericInvoke gives a typed object", () -> {
      Order answer = generic.$genericInvoke("placeOrder", types, new Object[] {order}, Order.class);
      equal(9L, answer.getId());
      equal("G", answer.getItems().get(0).getSku());
    });
    CHECKS.check("generic: a method that is not there", () -> {
      SofaRpcException thrown =
          thrown(SofaRpcException.class, () -> generic.$invoke("noSuchMethod", text, new Object[] {"x"}));
      that(thrown.getMessage().contains("RPC-020100011"), "no word of the provider's: " + thrown.getMessage());
    });
  }

  private static void baggage(int port) {
    HelloService hello = Consumers.hello(port);
    CHECKS.check("baggage: both ways", () -> {
      RpcInvokeContext context = RpcInvokeContext.getContext();
      context.putRequestBaggage("user", "u-1001 \u4e2d");
      context.putRequestBaggage("zone", "GZ00A");
      String seen = hello.context("c");
      equal("c|{user=u-1001 \u4e2d, zone=GZ00A}", seen);
      equal("rb-\u4e2d", RpcInvokeContext.getContext().getResponseBaggage("answer"));
    });
    RpcInvokeContext.removeContext();
  }

  /** @param canary the name of the provider that calls of name() with the header x-gray go to */
  private static void custom(int port, String canary) {
    HelloService hello = Consumers.hello(port);
    CHECKS.check("header of one's own: decides the route", () -> {
      equal("main", hello.name());
      RpcInvokeContext.getContext().addCustomHeader("x-gray", "canary");
      equal(canary, hello.name());
      RpcInvokeContext.removeContext();
      equal("main", hello.name());
    });
  }

  private static void exceptions(int port) {
    HelloService hello = Consumers.hello(port);
    CHECKS.check("exceptions: declared", () -> {
      BizException thrown = thrown(BizException.class, () -> hello.boom("biz \u4e2d"));
      equal("biz \u4e2d", thrown.getMessage());
      equal("E42", thrown.getCode());
    });
    CHECKS.check("exceptions: undeclared", () -> {
      IllegalStateException thrown = thrown(IllegalStateException.class, () -> hello.runtimeBoom("rt"));
      equal("rt", thrown.getMessage());
    });
    HelloService hurried = Consumers.<HelloService>at(port).setTimeout(300).refer();
    CHECKS.check("exceptions: timeout", () -> thrown(SofaTimeOutException.class, () -> hurried.slow(1_500)));
    CHECKS.check("exceptions: the connection serves on after a timeout and its late answer", () -> {
      HelloService patient = Consumers.hello(port);
      for (int i = 0; i < 50; i++) {
        equal("Hello, after " + i, patient.sayHello("after " + i));
      }
      equal("slept", patient.slow(1_500));
    });
    HelloService nowhere = Consumers.<HelloService>at(port).setUniqueId("nosuch").refer();
    CHECKS.check("exceptions: a service that the provider does not have", () -> {
      SofaRpcException thrown = thrown(SofaRpcException.class, () -> nowhere.sayHello("x"));
      that(thrown.getMessage().contains("RPC-020100010"), "no word of the provider's: " + thrown.getMessage());
    });
  }

  private static void serializations(int port) {
    HelloService hessian = Consumers.<HelloService>at(port).setSerialization("hessian").refer();
    CHECKS.check("serialization: hessian", () -> equal("Hello, h1", hessian.sayHello("h1")));
    HelloService fury = Consumers.<HelloService>at(port).setSerialization("fury2").refer();
    CHECKS.check("serialization: fury2", () -> equal("Hello, fury", fury.sayHello("fury")));
  }

  static byte[] pattern(int length) {
    byte[] bytes = new byte[length];
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) (i * 31 + (i >>> 8));
    }
    return bytes;
  }

  static String letters(char letter, int count) {
    char[] letters = new char[count];
    Arrays.fill(letters, letter);
    return new String(letters);
  }
}
