package peer;

import static peer.Checks.equal;
import static peer.Checks.that;
import static peer.Checks.thrown;

import com.alipay.remoting.CustomSerializerManager;
import com.alipay.remoting.InvokeCallback;
import com.alipay.remoting.InvokeContext;
import com.alipay.remoting.rpc.RpcClient;
import com.alipay.remoting.rpc.exception.InvokeTimeoutException;
import com.alipay.sofa.rpc.codec.bolt.SofaRpcSerialization;
import com.alipay.sofa.rpc.core.request.SofaRequest;
import com.alipay.sofa.rpc.core.response.SofaResponse;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/**
 * The plain Bolt client in each version of the protocol. Arguments: port; then the seconds that
 * each connection idles, to see heartbeats (system property bolt.tcp.heartbeat.interval).
 */
public final class BoltPlain {
  private static final Checks CHECKS = new Checks();
  private static final int TIMEOUT_MS = 15_000;

  private BoltPlain() {}

  public static void main(String[] arguments) throws Exception {
    SofaRpcSerialization serialization = new SofaRpcSerialization();
    CustomSerializerManager.registerCustomSerializer(SofaRequest.class.getName(), serialization);
    CustomSerializerManager.registerCustomSerializer(SofaResponse.class.getName(), serialization);
    RpcClient client = new RpcClient();
    client.startup();
    String address = "127.0.0.1:" + arguments[0];
    version(client, "v1", address + "?_PROTOCOL=1&_VERSION=1", false);
    version(client, "v2", address + "?_PROTOCOL=2&_VERSION=1", false);
    version(client, "v2 with CRC", address + "?_PROTOCOL=2&_VERSION=2", true);
    version(client, "v2, CRC off by switch", address + "?_PROTOCOL=2&_VERSION=2&_CONNECTIONNUM=1&x=1", false);
    CHECKS.finish();
  }

  private static void version(RpcClient client, String name, String url, boolean crc) {
    CHECKS.check(name + ": sync", () -> equal("Hello, plain", sync(client, url, crc, "sayHello", "plain").getAppResponse()));
    CHECKS.check(name + ": large", () -> {
      String large = SofaConsumer.letters('\u4e2d', 400_000);
      equal("Hello, " + large, sync(client, url, crc, "sayHello", large).getAppResponse());
    });
    CHECKS.check(name + ": oneway", () -> {
      String token = name + System.nanoTime();
      client.oneway(url, request("tell", token), context(crc));
      Checks.eventually("the provider has received the oneway call",
          () -> Boolean.TRUE.equals(sync(client, url, crc, "hasReceived", token).getAppResponse()));
    });
    CHECKS.check(name + ": future", () -> {
      Object answer = client.invokeWithFuture(url, request("sayHello", "later"), context(crc), TIMEOUT_MS).get(TIMEOUT_MS);
      equal("Hello, later", ((SofaResponse) answer).getAppResponse());
    });
    CHECKS.check(name + ": callback", () -> equal("Hello, back", callback(client, url, crc)));
    CHECKS.check(name + ": business exception", () -> {
      Object answer = sync(client, url, crc, "boom", "plain").getAppResponse();
      that(answer instanceof BizException, "expected BizException, got " + answer);
    });
    CHECKS.check(name + ": timeout, then the connection serves on", () -> {
      SofaRequest slow = request("slow", "");
      slow.setMethodArgSigs(new String[] {"int"});
      slow.setMethodArgs(new Object[] {1_000});
      thrown(InvokeTimeoutException.class, () -> client.invokeSync(url, slow, context(crc), 200));
      equal("Hello, on", sync(client, url, crc, "sayHello", "on").getAppResponse());
    });
    CHECKS.check(name + ": 500 calls on one connection", () -> {
      for (int i = 0; i < 500; i++) {
        equal("Hello, " + i, sync(client, url, crc, "sayHello", "" + i).getAppResponse());
      }
    });
  }

  private static SofaResponse sync(RpcClient client, String url, boolean crc, String method, String argument)
      throws Exception {
    return (SofaResponse) client.invokeSync(url, request(method, argument), context(crc), TIMEOUT_MS);
  }

  private static Object callback(RpcClient client, String url, boolean crc) throws Exception {
    BlockingQueue<Object> got = new ArrayBlockingQueue<>(1);
    client.invokeWithCallback(url, request("sayHello", "back"), context(crc), new InvokeCallback() {
      @Override
      public void onResponse(Object answer) {
        got.add(((SofaResponse) answer).getAppResponse());
      }

      @Override
      public void onException(Throwable thrown) {
        got.add(thrown);
      }

      @Override
      public Executor getExecutor() {
        return null;
      }
    }, TIMEOUT_MS);
    return got.poll(TIMEOUT_MS, TimeUnit.MILLISECONDS);
  }

  private static InvokeContext context(boolean crc) {
    InvokeContext context = new InvokeContext();
    context.put(InvokeContext.BOLT_CRC_SWITCH, crc);
    return context;
  }

  private static SofaRequest request(String method, String argument) {
    SofaRequest request = new SofaRequest();
    request.setInterfaceName(HelloService.class.getName());
    request.setTargetServiceUniqueName(HelloService.class.getName() + ":1.0");
    request.setMethodName(method);
    request.setMethodArgSigs(new String[] {"java.lang.String"});
    request.setMethodArgs(new Object[] {argument});
    request.setTargetAppName("plain");
    return request;
  }
}
