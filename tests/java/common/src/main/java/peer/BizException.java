package peer;
public class BizException extends Exception {
  private static final long serialVersionUID = 1L;
  private String code;
  public BizException() {}
  public BizException(String code, String msg) { super(msg); this.code = code; }
  public String getCode() { return code; } public void setCode(String c) { code = c; }
}
