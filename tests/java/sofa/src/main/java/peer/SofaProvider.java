package peer;

import com.alipay.sofa.rpc.config.ApplicationConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import java.util.TreeMap;

/**
 * A SOFA-RPC provider on 127.0.0.1. Arguments: port, name. Prints READY when it serves, and ends when
 * its standard input does, so that it never outlives the test that started it.
 */
public final class SofaProvider {
  private SofaProvider() {}

  public static void main(String[] arguments) throws Exception {
    ServerConfig server =
        new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(Integer.parseInt(arguments[0])).setDaemon(false);
    HelloImpl hello = new HelloImpl(arguments[1], SofaProvider::context);
    export(server, hello, "");
    export(server, hello, "v2");
    System.out.println("READY");
    while (System.in.read() >= 0) {
      // Nothing is said here; only the end counts.
    }
    Runtime.getRuntime().halt(0);
  }

  private static void export(ServerConfig server, HelloImpl hello, String uniqueId) {
    ProviderConfig<HelloService> provider = new ProviderConfig<HelloService>()
        .setInterfaceId(HelloService.class.getName())
        .setRef(hello)
        .setServer(server)
        .setRegister(false)
        .setApplication(new ApplicationConfig().setAppName("peer-provider"));
    if (!uniqueId.isEmpty()) {
      provider.setUniqueId(uniqueId);
    }
    provider.export();
  }

  private static String context(String text) {
    RpcInvokeContext context = RpcInvokeContext.getContext();
    String seen = text + "|" + new TreeMap<>(context.getAllRequestBaggage());
    context.putResponseBaggage("answer", "rb-\u4e2d");
    return seen;
  }
}
